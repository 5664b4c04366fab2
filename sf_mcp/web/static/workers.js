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

/** @param {string} name @returns {string} */
function trusted(name) {
  return /** @type {any} */ (policy ? policy.createScriptURL(name) : addressOf(name));
}

/**
 * Start a module worker.
 *
 * @param {string} name below `/static/`, such as `views/layout-worker.js`
 * @returns {Worker}
 */
export function startWorker(name) {
  return new Worker(trusted(name), { type: "module" });
}

/**
 * Reach the module worker that all tabs share; it is started when this is the first.
 *
 * @param {string} name below `/static/`
 * @returns {SharedWorker}
 */
export function shareWorker(name) {
  return new SharedWorker(trusted(name), { type: "module" });
}
