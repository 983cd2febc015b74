// What completion offers in either mapping. tests/debugger compares words.json with what the app itself takes.

import { property } from './json_text.js';

const CATEGORY = 'http://terminology.hl7.org/CodeSystem/observation-category';

/** The templates of a mapping's root, in whichever form the mapping is: `{pointer, node, type, values}`. */
export function templatesOf(root) {
  const [collection, path] = collectionOf(root);
  const list = property(collection, 'template');
  if (list?.kind !== 'array') return [];
  return list.items.map((node, index) => {
    const inner = property(node, 'template');
    const one = property(inner, 'value');
    const parts = property(inner, 'components')?.items ?? [];
    const several = property(inner, 'values')?.items ?? [];
    const named = [one, ...parts.map((part) => property(part, 'value')), ...several];
    return {
      pointer: `${path}/template/${index}`,
      node,
      kind: property(node, 'templateType')?.value ?? '',
      type: property(inner, 'typeName')?.value ?? '',
      values: named.map((each) => property(each, 'valueName')?.value).filter((each) => typeof each === 'string'),
    };
  });
}

/** The list of templates, and the pointer of the object that has it; the resource manager puts others around it. */
export function collectionOf(root) {
  const content = property(root, 'content');
  if (content) return [content, '/content'];
  const properties = property(root, 'properties');
  for (const name of ['deviceMapping', 'fhirMapping']) {
    const inside = property(property(properties, name), 'content');
    if (inside) return [inside, `/properties/${name}/content`];
  }
  return [root, ''];
}

const labels = (texts, type) => texts.map((label) => ({ label, type }));

/** The `words` of an editor for `kind` device or fhir; `others()` are the templates of the other mapping. */
export function wordsFor(kind, table, others) {
  const own = table[kind];
  return ({ path, name, isName, siblings }) => {
    const below = path.filter((each, at) => !(at === 0 && each === 'content')).join('/');
    if (isName) return labels(own.properties[below] ?? [], 'property');
    switch (name) {
      case 'templateType':
        return labels(path.length ? own.templateTypes : [own.collection], 'type');
      case 'typeName':
        return labels([...new Set(others().map((each) => each.type))].filter(Boolean), 'variable');
      case 'valueName':
        return labels([...new Set(others().flatMap((each) => each.values))], 'variable');
      case 'valueType':
        return labels(table.valueTypes, 'type');
      case 'language':
      case 'defaultExpressionLanguage':
        return labels(table.languages, 'type');
      case 'unit':
        return units(table);
      case 'system':
        return labels(table.systems, 'constant');
      case 'code':
        return siblings.system === CATEGORY ? labels(['vital-signs', 'activity', 'exam', 'laboratory'], 'constant') : units(table);
      case 'required':
        return [];
      default:
        return kind === 'device' && (name === 'value' || name.endsWith('Expression')) ? expressions(table) : [];
    }
  };
}

function units(table) {
  return table.units.map(([label, detail]) => ({ label, detail, type: 'constant' }));
}

function expressions(table) {
  const functions = table.functions.map((label) => ({ label, detail: 'JmesPath', type: 'function' }));
  return [...functions, ...labels(['$.matchedToken', 'matchedToken', '$.Body', '$.Properties', '$.SystemProperties'], 'variable')];
}
