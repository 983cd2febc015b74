// A device that speaks AMQP by itself, without Microsoft's client: it signs in with the key (SASL PLAIN) and sends one
// message that is no batch, with a property of every kind. Prints `accepted`, or the error's condition.
//
//   node tests/dev/device.mjs PORT KEY_NAME KEY ADDRESS
import { createRequire } from 'node:module';

const rhea = createRequire(new URL('../../dev/event_hubs/', import.meta.url))('rhea');
const { types } = rhea;
const [port, username, password, address] = process.argv.slice(2);

const end = (outcome) => {
  console.log(outcome);
  process.exit(0);
};

rhea.on('sender_error', ({ sender }) => end(sender.error.condition));
rhea.on('rejected', ({ delivery }) => end(delivery.remote_state.error.condition));
rhea.on('accepted', () => end('accepted'));
rhea.on('connection_error', ({ error }) => end(error.condition));
rhea.on('error', (error) => end(error.condition ?? error.message));
rhea.on('disconnected', ({ error }) => end(error?.condition ?? 'disconnected'));
rhea.once('sendable', ({ sender }) =>
  sender.send({
    message_id: 'm-1',
    content_type: 'application/json',
    creation_time: Date.UTC(2026, 2, 2, 8, 0, 0, 250),
    group_sequence: 7,
    message_annotations: { 'iothub-connection-device-id': 'd1', 'x-opt-offset': 'forged', 'my-own': 'a' },
    application_properties: {
      long: types.wrap_long(Buffer.from('0fffffffffffffff', 'hex')),
      ulong: types.wrap_ulong(Buffer.from('ffffffffffffffff', 'hex')),
      negative: types.wrap_int(-5),
      whole: types.wrap_double(72),
      half: types.wrap_double(0.5),
      single: types.wrap_float(0.1),
      none: types.wrap_double(Number.POSITIVE_INFINITY),
      yes: true,
      nothing: null,
      symbol: types.wrap_symbol('s'),
      char: types.wrap_char(0x2103),
      uuid: types.wrap_uuid(Buffer.from('00112233445566778899aabbccddeeff', 'hex')),
      bytes: Buffer.from('00112233445566778899aabbccddeeff', 'hex'),
      time: types.wrap_timestamp(Date.UTC(2026, 2, 2, 8, 0, 0, 250)),
      offset: types.wrap_described(types.wrap_long(Buffer.from('08de7831b3f704b0', 'hex')), 'com.microsoft:datetime-offset'),
    },
    body: rhea.message.data_sections([Buffer.from('{"a":'), Buffer.from('1}')]),
  }),
);
rhea.connect({ host: '127.0.0.1', port: Number(port), username, password, reconnect: false }).open_sender(address);
