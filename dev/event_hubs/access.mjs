// Shared access signatures: `SharedAccessSignature sr=ADDRESS&sig=HMAC&se=EXPIRY&skn=KEY NAME`, as Event Hubs defines them.
import { createHmac, timingSafeEqual } from 'node:crypto';

const PREFIX = 'SharedAccessSignature ';

/** A token does not open what is asked for; the message says why and shows nothing of the token. */
export class AccessDenied extends Error {}

/** What a token opens, until when: the path of a hub, or '' for all of the namespace. */
class Grant {
  constructor(path, expires) {
    this.path = path;
    this.expires = expires;
  }

  covers(hub, now = Date.now()) {
    return now < this.expires && (this.path === '' || this.path === hub.toLowerCase());
  }
}

/** The one key of this namespace; it may send and receive. */
export class SharedAccess {
  #name;
  #key;

  constructor(name, key) {
    this.#name = name;
    this.#key = key;
  }

  /** Whether these are the key's name and the key, as SASL PLAIN gives them. */
  opens(name, key) {
    return equal(name, this.#name) && equal(key, this.#key);
  }

  /** What a token opens. Throws AccessDenied. */
  grant(token) {
    if (typeof token !== 'string' || !token.startsWith(PREFIX)) {
      throw new AccessDenied('MalformedToken: The token must be a shared access signature of this local namespace.');
    }
    const fields = new Map(token.slice(PREFIX.length).split('&').map((field) => partition(field, '=')));
    const [address, expiry, name] = ['sr', 'se', 'skn'].map((field) => fields.get(field) ?? '');
    if (!equal(unescaped(name), this.#name)) {
      throw new AccessDenied('InvalidSignature: The token names a key that this local namespace does not have.');
    }
    // The address is signed as it stands in the token, escaped.
    const signature = createHmac('sha256', this.#key).update(`${address}\n${expiry}`).digest('base64');
    if (!equal(unescaped(fields.get('sig') ?? ''), signature)) {
      throw new AccessDenied('InvalidSignature: The token has an invalid signature.');
    }
    const expires = Number(expiry) * 1000;
    if (!(Date.now() < expires)) {
      throw new AccessDenied('ExpiredToken: The token has expired.');
    }
    return new Grant(hubOf(unescaped(address)), expires);
  }
}

/** The first part of an address's path, in lower case: `sb://127.0.0.1:5672/Hub/Partitions/0` is about `hub`. */
function hubOf(address) {
  const [, ...path] = address.replace(/^[a-z]+:\/\//i, '').split('/');
  return (path[0] ?? '').toLowerCase();
}

function partition(text, separator) {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}

function unescaped(text) {
  try {
    return decodeURIComponent(text.replaceAll('+', '%2B'));
  } catch {
    throw new AccessDenied('MalformedToken: A field of the token is not escaped as in an address.');
  }
}

function equal(given, expected) {
  const [a, b] = [Buffer.from(given), Buffer.from(expected)];
  return a.length === b.length && timingSafeEqual(a, b);
}
