// JSON whose numbers keep every digit. `JSON.parse` turns a FHIR decimal into a double (78.50 becomes 78.5, digits past
// the seventeenth are lost), which a FHIR server must not do. In the exact form a number is a string that begins with
// NUL, a character that no FHIR string may contain.
const STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const MARKED_NUMBER = /"\\u0000([-+.\deE]+)"/g;

/** The exact form of a JSON text. Throws SyntaxError as `JSON.parse` does. */
export function parseExact(text) {
  JSON.parse(text);
  return JSON.parse(text.replace(STRING_OR_NUMBER, (token) => (token[0] === '"' ? token : `"\\u0000${token}"`)));
}

/** JSON text of a value in exact form (plain numbers in it are fine too). */
export function stringifyExact(value) {
  return JSON.stringify(value).replace(MARKED_NUMBER, '$1');
}

/** The value with ordinary numbers: what validation and search look at. */
export function toPlain(value) {
  return JSON.parse(stringifyExact(value));
}
