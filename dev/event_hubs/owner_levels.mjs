// Who may receive from a partition in a consumer group: receivers with an owner level (`com.microsoft:epoch`) do so alone,
// and the highest level wins, the newest of equals. Without any, several receive side by side.
import { HubError } from './hubs.mjs';

export const STOLEN = 'amqp:link:stolen';

/** The level at which the Functions host reads. */
const HOST_LEVEL = 0;

export class OwnerLevels {
  #receivers = new Map();

  /**
   * Lets a receiver in, with `level` null if it has none, and disconnects those that have to leave. `readByHost`: a
   * function of the app reads the group. Throws HubError.
   */
  admit(place, receiver, level, readByHost) {
    const present = this.#receivers.get(place) ?? new Map();
    const highest = Math.max(readByHost ? HOST_LEVEL : -1, ...[...present.values()].map((each) => each ?? -1));
    if (highest > (level ?? -1)) {
      throw new HubError(STOLEN, `Another receiver, with owner level ${highest}, has the partition in this consumer group.`);
    }
    if (readByHost && level !== null) {
      const why = 'This local namespace takes no partition from the functions host: disable the function that reads it.';
      throw new HubError('amqp:not-implemented', why);
    }
    if (level !== null) {
      for (const other of present.keys()) {
        other.steal(`A receiver with owner level ${level} has taken the partition in this consumer group.`);
      }
      present.clear();
    }
    present.set(receiver, level);
    this.#receivers.set(place, present);
  }

  /** Forgets a receiver that has ended. */
  dismiss(place, receiver) {
    this.#receivers.get(place)?.delete(receiver);
  }
}
