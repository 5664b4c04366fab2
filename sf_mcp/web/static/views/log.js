/** What has happened, newest first. */

import { html } from "../vendor/lit-html/lit-html.js";

export function open(argument) {
  return { title: "Log", render: () => html`` };
}
