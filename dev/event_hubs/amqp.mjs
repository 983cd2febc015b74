// AMQP 1.0 as clients of Event Hubs speak it: SASL, `$cbs`, `$management`, links to `HUB` or `HUB/Partitions/ID` for
// senders, and to `HUB/ConsumerGroups/GROUP/Partitions/ID` for receivers.
import rhea from 'rhea';
import frames from 'rhea/lib/frames.js';

import { AccessDenied } from './access.mjs';
import { Consumer, CONSUMER } from './consumer.mjs';
import { readDelivery } from './event.mjs';
import { HubError, MAX_MESSAGE_BYTES } from './hubs.mjs';
import { OwnerLevels } from './owner_levels.mjs';
import { close, refusal } from './refusal.mjs';

const CBS = '$cbs';
const MANAGEMENT = '$management';
const SAS_TOKEN = 'servicebus.windows.net:sastoken';
const MAX_FRAME_BYTES = 64 * 1024;
const MAX_CHANNEL = 4999;
const MAX_HANDLE = 255;
const CREDIT = 100;
/** `HUB` or `HUB/Partitions/ID`; some clients put the address of the namespace before it. */
const PUBLISHER = /^(?:amqps?:\/\/[^/]*)?\/?([^/]+)(?:\/Partitions\/([^/]+))?$/i;

// rhea hands out a single message decoded, and then a UUID is no longer told from 16 bytes.
const { decode } = rhea.message;
rhea.message.decode = (bytes) => Object.assign(decode(bytes), { bytes });

// rhea leaves out the empty last fields of a frame, as AMQP allows. Microsoft's client for Python reads fields by their
// index, and fails.
const FIELDS = { open: 10, begin: 8, attach: 14, flow: 11, transfer: 11, disposition: 6, detach: 3, end: 1, close: 1 };
for (const [name, count] of Object.entries(FIELDS)) {
  const create = frames[name];
  frames[name] = (fields) => {
    const frame = create(name === 'begin' ? { handle_max: MAX_HANDLE, ...fields } : fields);
    frame.value.length = count;
    return frame;
  };
}

/** Serves AMQP on a port of 127.0.0.1. */
export function listen(port, access, hubs) {
  const container = rhea.create_container({
    id: 'event-hubs',
    receiver_options: { autoaccept: false, credit_window: 0, max_message_size: MAX_MESSAGE_BYTES },
  });
  // With the first two the token put to `$cbs` decides.
  for (const name of ['MSSBCBS', 'ANONYMOUS']) container.sasl_server_mechanisms[name] = () => new Mechanism(() => true);
  container.sasl_server_mechanisms.PLAIN = () => new PlainMechanism(access);

  const clients = new WeakMap();
  const ownerLevels = new OwnerLevels();
  const clientOf = ({ connection }) => {
    if (!clients.has(connection)) clients.set(connection, new Client(connection, access, hubs, ownerLevels));
    return clients.get(connection);
  };
  container.on('receiver_open', (context) => clientOf(context).openReceiver(context.receiver));
  container.on('sender_open', (context) => clientOf(context).openSender(context.sender));
  container.on('message', (context) => clientOf(context).take(context));
  for (const event of ['error', 'protocol_error', 'connection_error', 'session_error']) {
    container.on(event, ({ message, error }) => console.error(`${event}: ${message ?? error?.message ?? ''}`));
  }
  container.on('sender_close', (context) => clientOf(context).endConsumers((link) => link === context.sender));
  container.on('session_close', (context) => clientOf(context).endConsumers((link) => link.session === context.session));
  // Most clients end so, and without a listener rhea would print each with a stack.
  container.on('disconnected', (context) => clientOf(context).endConsumers(() => true));
  container.listen({ host: '127.0.0.1', port, max_frame_size: MAX_FRAME_BYTES, channel_max: MAX_CHANNEL });
}

/** A SASL mechanism of one step, as rhea calls it. */
class Mechanism {
  #judge;

  constructor(judge) {
    this.#judge = judge;
  }

  start(response) {
    this.outcome = this.#judge(response);
  }
}

/** The name of the key and the key, in place of a token. */
class PlainMechanism extends Mechanism {
  constructor(access) {
    super((response) => {
      const [, name, key] = response.toString('utf8').split('\0');
      return access.opens(name ?? '', key ?? '');
    });
  }
}

/** One connection: what its tokens open, and where its requests are answered. */
class Client {
  #connection;
  #access;
  #hubs;
  #ownerLevels;
  #grants = new Map();
  #answering = [];
  #publishers = new WeakMap();
  #consumers = new Map();

  constructor(connection, access, hubs, ownerLevels) {
    this.#connection = connection;
    this.#access = access;
    this.#hubs = hubs;
    this.#ownerLevels = ownerLevels;
  }

  /** A link on which the client sends. */
  openReceiver(link) {
    const address = link.target?.address ?? '';
    link.set_source({ address: link.source?.address });
    link.set_target({ address });
    if ([CBS, MANAGEMENT].includes(address)) {
      link.add_credit(CREDIT);
      return;
    }
    const [, hub, partition] = PUBLISHER.exec(address) ?? [];
    if (hub === undefined) {
      close(link, 'amqp:not-found', 'Events are sent to HUB or HUB/Partitions/ID.');
    } else {
      this.#publishers.set(link, new Publisher(link, hub, partition, this.#hubs, () => this.#mayUse(hub)));
    }
  }

  /** A link on which the client receives. */
  openSender(link) {
    const address = link.source?.address ?? '';
    link.set_source({ address });
    link.set_target({ address: link.target?.address });
    if ([CBS, MANAGEMENT].includes(address)) {
      this.#answering.push(link);
      return;
    }
    const [, hub, consumerGroup, partition] = CONSUMER.exec(address) ?? [];
    if (hub === undefined) {
      close(link, 'amqp:not-found', 'Events are received from HUB/ConsumerGroups/GROUP/Partitions/ID.');
    } else {
      const from = { hub, consumerGroup, partition };
      const consumer = new Consumer(link, from, this.#hubs, this.#ownerLevels, () => this.#mayUse(hub));
      this.#consumers.set(link, consumer);
      consumer.run().finally(() => this.#consumers.delete(link));
    }
  }

  /** Ends the receivers whose links meet a condition. */
  endConsumers(isOver) {
    for (const [link, consumer] of this.#consumers) {
      if (isOver(link)) consumer.end();
    }
  }

  take(context) {
    const address = context.receiver.target?.address;
    if (address === CBS) this.#putToken(context);
    else if (address === MANAGEMENT) this.#describe(context);
    else this.#publishers.get(context.receiver)?.take(context);
  }

  #mayUse(hub) {
    // rhea keeps the mechanism that the client chose.
    if (this.#connection.sasl_transport?.selected?.mechanism instanceof PlainMechanism) return true;
    return [...this.#grants.values()].some((grant) => grant.covers(hub));
  }

  async #putToken(context) {
    const { type } = context.message.application_properties ?? {};
    try {
      if (type !== SAS_TOKEN) throw new AccessDenied(`MalformedToken: Only tokens of type ${SAS_TOKEN} are taken here.`);
      const grant = this.#access.grant(context.message.body);
      if (grant.path !== '') await this.#hubs.describe(grant.path);
      this.#grants.set(grant.path, grant);
      this.#answer(context, CBS, { code: 202, description: 'Accepted' });
    } catch (error) {
      const { code, description } = refusal(error); // a condition as well keeps Microsoft's client from seeing the code
      this.#answer(context, CBS, { code, description });
    }
  }

  async #describe(context) {
    const { operation, type, name = '', partition, security_token: token } = context.message.application_properties ?? {};
    try {
      if (!this.#mayUse(name) && !this.#access.grant(token).covers(name)) {
        throw new AccessDenied('InvalidToken: The token is for another hub.');
      }
      const wanted = `${operation} ${type}`;
      if (wanted === 'READ com.microsoft:eventhub') {
        this.#answer(context, MANAGEMENT, { code: 200, description: 'OK', body: hubBody(await this.#hubs.describe(name)) });
      } else if (wanted === 'READ com.microsoft:partition') {
        const state = await this.#hubs.describePartition(name, String(partition));
        this.#answer(context, MANAGEMENT, { code: 200, description: 'OK', body: partitionBody(name, partition, state) });
      } else {
        throw new HubError('amqp:not-implemented', `The operation ${wanted} is not served by this local namespace.`);
      }
    } catch (error) {
      this.#answer(context, MANAGEMENT, refusal(error));
    }
  }

  #answer({ message, delivery, receiver }, address, { code, description, condition, body }) {
    delivery.accept();
    receiver.add_credit(1);
    const open = this.#answering.filter((link) => link.is_open());
    const link =
      open.find((each) => message.reply_to !== undefined && each.target?.address === message.reply_to) ??
      open.findLast((each) => each.source?.address === address);
    link?.send({
      correlation_id: message.message_id,
      to: message.reply_to,
      application_properties: {
        'status-code': rhea.types.wrap_int(code),
        'status-description': description,
        statusCode: rhea.types.wrap_int(code),
        statusDescription: description,
        ...(condition && { 'error-condition': rhea.types.wrap_symbol(condition) }),
      },
      body: body ?? '',
    });
  }
}

/** A link to a hub or one of its partitions. Deliveries are stored one after another, in the order in which they came. */
class Publisher {
  #link;
  #hub;
  #partition;
  #hubs;
  #mayUse;
  #last;

  constructor(link, hub, partition, hubs, mayUse) {
    this.#link = link;
    this.#hub = hub;
    this.#partition = partition;
    this.#hubs = hubs;
    this.#mayUse = mayUse;
    // What rhea has to say on this link waits for #open, so that a refusal is the first thing that the client hears.
    link._process = () => {};
    this.#last = this.#open();
  }

  take(context) {
    this.#last = this.#last.then(() => this.#store(context));
  }

  async #open() {
    try {
      this.#authorize();
      if (this.#partition === undefined) await this.#hubs.describe(this.#hub);
      else await this.#hubs.describePartition(this.#hub, this.#partition);
      this.#link.add_credit(CREDIT);
    } catch (error) {
      this.#close(error);
    }
    delete this.#link._process;
    this.#link.connection._register();
  }

  async #store({ message, delivery, format }) {
    if (this.#link.is_closed()) return;
    const bytes = Buffer.isBuffer(message) ? message : message.bytes;
    try {
      this.#authorize();
      if (bytes.length > MAX_MESSAGE_BYTES) {
        const why = `The message has ${bytes.length} bytes; at most ${MAX_MESSAGE_BYTES} are taken. Send smaller batches.`;
        throw new HubError('amqp:link:message-size-exceeded', why);
      }
      const { events, partitionKey } = readDelivery(bytes, format);
      await this.#hubs.store(this.#hub, events, { partition: this.#partition, partitionKey });
      delivery.accept();
      this.#link.add_credit(1);
    } catch (error) {
      const { condition, description } = refusal(error);
      delivery.reject({ condition, description, info: {} });
      if (error instanceof AccessDenied) this.#close(error);
      else this.#link.add_credit(1);
    }
  }

  #authorize() {
    if (!this.#mayUse()) throw new AccessDenied('Unauthorized access. Put a token for this hub to $cbs first.');
  }

  #close(error) {
    const { condition, description } = refusal(error);
    close(this.#link, condition, description);
  }
}

function hubBody({ name, created, partitions }) {
  const ids = Object.keys(partitions);
  return rhea.types.wrap_map({
    name,
    type: 'com.microsoft:eventhub',
    created_at: rhea.types.wrap_timestamp(Date.parse(created)),
    partition_count: rhea.types.wrap_int(ids.length),
    partition_ids: rhea.types.wrap_array(ids, 0xa1),
  });
}

function partitionBody(name, id, state) {
  return rhea.types.wrap_map({
    name,
    type: 'com.microsoft:partition',
    partition: String(id),
    begin_sequence_number: rhea.types.wrap_long(state.firstSequenceNumber),
    last_enqueued_sequence_number: rhea.types.wrap_long(state.lastSequenceNumber),
    last_enqueued_offset: state.lastOffset ?? '-1',
    last_enqueued_time_utc: rhea.types.wrap_timestamp(Date.parse(state.lastEnqueuedTime ?? '1970-01-01T00:00:00Z')),
    is_partition_empty: state.firstSequenceNumber > state.lastSequenceNumber,
  });
}
