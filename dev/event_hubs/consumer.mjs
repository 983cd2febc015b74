// A receiver's link to a partition: `HUB/ConsumerGroups/GROUP/Partitions/ID`, with the position to begin at as a filter.
import rhea from 'rhea';

import { AccessDenied } from './access.mjs';
import { write } from './event.mjs';
import { HubError } from './hubs.mjs';
import { STOLEN } from './owner_levels.mjs';
import { close, refusal } from './refusal.mjs';

/** Some clients put the address of the namespace before it. */
export const CONSUMER = /^(?:amqps?:\/\/[^/]*)?\/?([^/]+)\/ConsumerGroups\/([^/]+)\/Partitions\/([^/]+)$/i;

const SELECTOR_FILTER = 'apache.org:selector-filter:string';
const SELECTOR = /^amqp\.annotation\.(x-opt-(?:offset|sequence-number|enqueued-time)) (>=?) '([^']*)'$/;
const FROM_THE_START = { annotation: 'x-opt-offset', value: '-1', inclusive: false };
const OWNER_LEVEL = 'com.microsoft:epoch';
const SENT_SETTLED = 1;

export class Consumer {
  #link;
  #from;
  #hubs;
  #ownerLevels;
  #mayUse;
  #ending = new AbortController();
  #stolen;

  constructor(link, from, hubs, ownerLevels, mayUse) {
    this.#link = link;
    this.#from = from;
    this.#hubs = hubs;
    this.#ownerLevels = ownerLevels;
    this.#mayUse = mayUse;
    link.local.attach.snd_settle_mode = SENT_SETTLED;
    // What rhea has to say on this link waits for #open, so that a refusal is the first thing that the client hears.
    link._process = () => {};
  }

  /** Sends events, as fast as the client gives credit, until the link ends. */
  async run() {
    const { hub, consumerGroup, partition } = this.#from;
    const place = [hub, consumerGroup, partition].join('/').toLowerCase();
    try {
      await this.#send(await this.#open(place));
    } catch (error) {
      if (!this.#ending.signal.aborted) this.#close(error);
      else if (this.#stolen !== undefined) this.#close(new HubError(STOLEN, this.#stolen));
    } finally {
      this.#ownerLevels.dismiss(place, this);
      this.#letRheaSpeak();
    }
  }

  end() {
    this.#ending.abort();
  }

  /** Ends it because another receiver has taken the partition. */
  steal(why) {
    this.#stolen = why;
    this.end();
  }

  /** The sequence number to begin with. */
  async #open(place) {
    this.#authorize();
    const { hub, consumerGroup, partition } = this.#from;
    const { isRead } = await this.#hubs.describeConsumerGroup(hub, consumerGroup, partition);
    const position = readPosition(this.#link.source?.filter);
    const first = await this.#hubs.position(hub, partition, position);
    const level = this.#link.properties?.[OWNER_LEVEL];
    this.#ownerLevels.admit(place, this, level === undefined ? null : Number(level), isRead);
    this.#letRheaSpeak();
    return first;
  }

  async #send(first) {
    const { hub, partition } = this.#from;
    let next = first;
    for (;;) {
      await this.#credit();
      this.#authorize();
      const events = await this.#hubs.read(hub, partition, next, this.#link.credit, this.#ending.signal);
      for (const event of events) {
        this.#ending.signal.throwIfAborted();
        if (!this.#link.sendable()) break; // the client has taken credit back
        this.#link.send(write(event), undefined, 0);
        next = event.sequenceNumber + 1;
      }
    }
  }

  /** Returns once the client takes events. Throws once the link has ended. */
  async #credit() {
    const { signal } = this.#ending;
    while (!this.#link.sendable()) {
      signal.throwIfAborted();
      await new Promise((resolve) => {
        this.#link.once('sender_flow', resolve);
        signal.addEventListener('abort', resolve, { once: true });
      });
    }
    signal.throwIfAborted();
  }

  #authorize() {
    if (!this.#mayUse()) throw new AccessDenied('Unauthorized access. Put a token for this hub to $cbs first.');
  }

  #close(error) {
    const { condition, description } = refusal(error);
    close(this.#link, condition, description);
  }

  #letRheaSpeak() {
    if (!Object.hasOwn(this.#link, '_process')) return;
    delete this.#link._process;
    this.#link.connection._register();
  }
}

/** The position that a filter names; without one it is the start of the partition. Throws HubError. */
function readPosition(filter) {
  const given = filter?.[SELECTOR_FILTER];
  if (given === undefined) return FROM_THE_START;
  const text = String(rhea.types.unwrap(given)?.value ?? rhea.types.unwrap(given));
  const [, annotation, operator, value] = SELECTOR.exec(text) ?? [];
  if (annotation === undefined) {
    throw new HubError('amqp:invalid-field', "A filter must be as: amqp.annotation.x-opt-sequence-number > '7'.");
  }
  return { annotation, value, inclusive: operator === '>=' };
}
