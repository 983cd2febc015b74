// An Event Hubs namespace: AMQP 1.0 and the REST call, in front of the hubs of the local functions host.
//
//   SHARED_ACCESS_KEY=... node dev/event_hubs/server.mjs --amqp-port N --rest-port N --host URL --key-name NAME
//
// It stores nothing itself. What devices send goes to the host's `POST /dev/events`, and is accepted only once the host
// has stored it, so that a host that ends between the two loses nothing. What receivers get comes from the host, too,
// which holds the hub: while it is down there is none. Plain TCP and HTTP on 127.0.0.1, as Microsoft's emulator serves them.
import { parseArgs } from 'node:util';

import { SharedAccess } from './access.mjs';
import { listen as listenForAmqp } from './amqp.mjs';
import { Hubs } from './hubs.mjs';
import { listen as listenForRest } from './rest.mjs';

const names = ['amqp-port', 'rest-port', 'host', 'key-name'];
const { values: options } = parseArgs({ options: Object.fromEntries(names.map((name) => [name, { type: 'string' }])) });
const key = process.env.SHARED_ACCESS_KEY;
if (!key || names.some((name) => !options[name])) {
  console.error('usage: SHARED_ACCESS_KEY=KEY server.mjs --amqp-port N --rest-port N --host URL --key-name NAME');
  process.exit(2);
}

const access = new SharedAccess(options['key-name'], key);
const hubs = new Hubs(options.host);
listenForAmqp(Number(options['amqp-port']), access, hubs);
listenForRest(Number(options['rest-port']), access, hubs);
