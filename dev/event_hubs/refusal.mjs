// What clients are told of an error.
import { AccessDenied } from './access.mjs';
import { Malformed } from './event.mjs';
import { HubError } from './hubs.mjs';

/** Closes a link with an error. */
export function close(link, condition, description) {
  link.close({ condition, description, info: {} });
}

/** A status for `$cbs` and `$management`, a condition for links. */
export function refusal(error) {
  if (error instanceof AccessDenied) {
    return { code: 401, condition: 'amqp:unauthorized-access', description: error.message };
  }
  if (error instanceof Malformed) return { code: 400, condition: 'amqp:decode-error', description: error.message };
  if (!(error instanceof HubError)) {
    console.error(error);
    return { code: 500, condition: 'amqp:internal-error', description: 'This local namespace failed; see its log.' };
  }
  const code = { 'amqp:not-found': 404, 'amqp:not-implemented': 501, 'com.microsoft:server-busy': 503 }[error.condition];
  return { code: code ?? 400, condition: error.condition, description: error.message };
}
