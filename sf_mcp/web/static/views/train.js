/** The merge train, and one merge request of it. */

import { html } from "../vendor/lit-html/lit-html.js";

export function open(argument) {
  return { title: argument || "Train", render: () => html`` };
}
