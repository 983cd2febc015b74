// The hubs as the local functions host keeps them, behind its HTTP endpoints.

/** The most that one message, a batch included, may have on the wire. */
export const MAX_MESSAGE_BYTES = 1024 * 1024;

const HOST_SECONDS = 30;

/** A hub does not take what was sent; `condition` is the AMQP error, and the message says what to do. */
export class HubError extends Error {
  constructor(condition, message) {
    super(message);
    this.condition = condition;
  }
}

export const NOT_FOUND = 'amqp:not-found';
export const OUT_OF_RANGE = 'amqp:argument-out-of-range';
export const REFUSED = 'amqp:not-allowed';
export const BUSY = 'com.microsoft:server-busy';

export class Hubs {
  #host;
  #turn = 0;

  constructor(host) {
    this.#host = host;
  }

  /** A hub's name as the app writes it, when it was created, and its partitions by their ids. Throws HubError. */
  async describe(hub) {
    const { hubs, created } = await this.#ask('/dev/hub');
    // Names of hubs are not case-sensitive.
    const name = Object.keys(hubs).find((each) => each.toLowerCase() === hub.toLowerCase());
    if (name === undefined) {
      const known = Object.keys(hubs).join(', ') || 'none';
      throw new HubError(NOT_FOUND, `The messaging entity '${hub}' could not be found. The app's hubs: ${known}.`);
    }
    return { name, created: created[name], partitions: hubs[name] };
  }

  /** The state of a partition. Throws HubError. */
  async describePartition(hub, id) {
    const { partitions } = await this.describe(hub);
    requirePartition(partitions, id);
    return partitions[id];
  }

  /**
   * Stores events, each a JSON object without its braces, in one partition: the given one, the key's, or the next in
   * turn. Returns once they are stored. Throws HubError.
   */
  async store(hub, events, { partition, partitionKey }) {
    const { name, partitions } = await this.describe(hub);
    if (partition !== undefined) requirePartition(partitions, partition);
    const ids = Object.keys(partitions);
    const where =
      partition === undefined && partitionKey !== undefined
        ? `"partitionKey":${JSON.stringify(partitionKey)}`
        : `"partition":${JSON.stringify(partition ?? ids[this.#turn++ % ids.length])}`;
    await this.#ask(`/dev/events?hub=${encodeURIComponent(name)}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: `[${events.map((event) => `{${where},${event}}`).join(',')}]`,
    });
  }

  async #ask(path, request = {}) {
    let answer;
    let document;
    try {
      answer = await fetch(`${this.#host}${path}`, { ...request, signal: AbortSignal.timeout(HOST_SECONDS * 1000) });
      document = await answer.json();
    } catch {
      throw new HubError(BUSY, 'The local functions host, which keeps the events, does not answer. Send again later.');
    }
    if (answer.status === 400) throw new HubError(REFUSED, document.error);
    if (!answer.ok) throw new HubError(BUSY, `The local functions host answered ${answer.status}. Send again later.`);
    return document;
  }
}

function requirePartition(partitions, id) {
  if (Object.hasOwn(partitions, id)) return;
  const last = Object.keys(partitions).length - 1;
  throw new HubError(OUT_OF_RANGE, `The specified partition is invalid. It should be between 0 and ${last}.`);
}
