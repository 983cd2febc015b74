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

  /**
   * A hub's name as the app writes it, when it was created, its partitions by their ids, and its consumer groups by name:
   * whether a function reads them. Throws HubError.
   */
  async describe(hub) {
    const { hubs, created, consumerGroups } = await this.#ask('/dev/hub');
    // Names of hubs are not case-sensitive.
    const name = Object.keys(hubs).find((each) => each.toLowerCase() === hub.toLowerCase());
    if (name === undefined) {
      const known = Object.keys(hubs).join(', ') || 'none';
      throw new HubError(NOT_FOUND, `The messaging entity '${hub}' could not be found. The app's hubs: ${known}.`);
    }
    return { name, created: created[name], partitions: hubs[name], consumerGroups: consumerGroups[name] };
  }

  /** The state of a partition. Throws HubError. */
  async describePartition(hub, id) {
    const { partitions } = await this.describe(hub);
    requirePartition(partitions, id);
    return partitions[id];
  }

  /** Whether a function of the app reads a consumer group of a hub. Throws HubError, also for a wrong partition. */
  async describeConsumerGroup(hub, consumerGroup, partition) {
    const { name, partitions, consumerGroups } = await this.describe(hub);
    const known = { $Default: false, ...consumerGroups };
    const group = Object.keys(known).find((each) => each.toLowerCase() === consumerGroup.toLowerCase());
    if (group === undefined) {
      const groups = Object.keys(known).join(', ');
      const why = `The messaging entity '${name}/ConsumerGroups/${consumerGroup}' could not be found. There are: ${groups}.`;
      throw new HubError(NOT_FOUND, why);
    }
    requirePartition(partitions, partition);
    return { isRead: known[group] };
  }

  /** The sequence number of the first event beyond a position. Throws HubError. */
  async position(hub, partition, position) {
    const { name } = await this.describe(hub);
    const asked = new URLSearchParams({ hub: name, partition, ...position });
    return (await this.#ask(`/dev/hub/position?${asked}`)).sequenceNumber;
  }

  /** Up to `limit` events from a sequence number on; waits a moment if there is none. Throws HubError. */
  async read(hub, partition, from, limit, signal) {
    const { name } = await this.describe(hub);
    const asked = new URLSearchParams({ hub: name, partition, from, limit });
    return (await this.#ask(`/dev/hub/events?${asked}`, { signal })).events;
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
      answer = await fetch(`${this.#host}${path}`, {
        ...request,
        signal: AbortSignal.any([AbortSignal.timeout(HOST_SECONDS * 1000), ...(request.signal ? [request.signal] : [])]),
      });
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
