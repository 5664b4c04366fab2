// Workers of this server's own, the only ones that the Content-Security-Policy lets start.

const OWN = /^[a-z][a-z0-9-]*(\/[a-z][a-z0-9-]*)*\.js$/;

/** @param {string} name @returns {string} */
function addressOf(name) {
  if (!OWN.test(name)) throw new TypeError(`${name} is no script of this page`);
  return `/static/${name}`;
}

// The name is in the Content-Security-Policy. Browsers without Trusted Types take the text itself.
const policy = globalThis.trustedTypes?.createPolicy("stoneforge-worker", {
  createScriptURL: addressOf,
});

/**
 * Start a module worker.
 *
 * @param {string} name below `/static/`, such as `views/layout-worker.js`
 * @returns {Worker}
 */
export function startWorker(name) {
  const address = policy ? policy.createScriptURL(name) : addressOf(name);
  return new Worker(/** @type {string} */ (address), { type: "module" });
}
