// What somebody does on the page, and what they must see then. A scenario that throws fails; so does one in whose
// course the browser complains of anything.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../..');
const EDITORS = { device: 'Device mapping', fhir: 'FHIR mapping', message: 'Messages' };

/** Opens the page with the function key and waits until it has answered what it shows. */
async function open(page, site, fragment = '') {
  await page.goto(site.url + fragment);
  await page.waitForSelector('html[data-ready]');
  await page.getByLabel('Function key').fill(site.functionKey);
  await answered(page);
}

/** Waits until what was typed last is answered: the page forgets its state as soon as anything is typed. */
const answered = (page) => page.waitForSelector('html[data-state=answered]');

const editor = (page, kind) => page.locator(`#${kind}`).getByRole('textbox', { name: EDITORS[kind] });

/** Puts a text into an editor as a paste does. */
async function put(page, kind, text) {
  await editor(page, kind).click();
  await page.keyboard.press('Control+a');
  await page.keyboard.insertText(typeof text === 'string' ? text : JSON.stringify(text, null, 2));
}

/** The whole text of an editor, of which only what is in view is in the page: as it is copied. */
async function text(page, kind) {
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  await editor(page, kind).focus();
  await page.keyboard.press('Control+a');
  await page.keyboard.press('Control+c');
  return page.evaluate(() => navigator.clipboard.readText());
}

async function sample(page, title) {
  await page.locator('#sample').selectOption({ label: title });
  await answered(page);
}

const findings = (page) => page.locator('#finding-list li');

const cards = (page, panel) => page.locator(`#${panel} > .card`);

const PULSE_DEVICE = {
  templateType: 'CollectionContent',
  template: [
    {
      templateType: 'CalculatedContent',
      template: {
        typeName: 'pulse',
        typeMatchExpression: '$..[?(@pulse)]',
        deviceIdExpression: '$.matchedToken.device',
        timestampExpression: '$.matchedToken.time',
        values: [{ valueName: 'pulse', valueExpression: '$.matchedToken.pulse', required: true }],
      },
    },
  ],
};

const PULSE_FHIR = {
  templateType: 'CollectionFhir',
  template: [
    {
      templateType: 'CodeValueFhir',
      template: {
        typeName: 'pulse',
        codes: [{ code: '8889-8', system: 'http://loinc.org' }],
        value: { valueName: 'pulse', valueType: 'Quantity', unit: '/min', code: '/min', system: 'http://unitsofmeasure.org' },
      },
    },
  ],
};

const PULSE = { device: 'strap-1', time: '2026-03-02T08:00:00Z', pulse: 71 };

export async function nothing_is_asked_without_a_key(page, site) {
  const asked = [];
  page.on('request', (request) => asked.push(new URL(request.url()).pathname));
  await page.goto(site.url);
  await page.getByText('Type the function key of the app').waitFor();
  assert.ok(!asked.includes('/api/validate'));
}

export async function a_wrong_key_is_refused_with_a_reason(page, site) {
  page.tolerated = /status of 401/;
  await page.goto(site.url);
  await page.getByLabel('Function key').fill('wrong');
  await page.getByText('The app does not take this key.').waitFor();
}

export async function a_key_is_in_no_address_and_kept_for_this_tab_alone(page, site) {
  const asked = [];
  page.on('request', (request) => asked.push(request));
  await open(page, site);
  await page.getByLabel('Admin key').fill(site.adminKey);
  await page.getByRole('button', { name: 'Load mappings in force' }).click();
  await answered(page);
  const validation = asked.filter((request) => request.url().endsWith('/api/validate'));
  assert.equal(validation[0].headers()['x-functions-key'], site.functionKey);
  for (const request of asked) assert.ok(!request.url().includes(site.functionKey) && !request.url().includes(site.adminKey));
  const kept = await page.evaluate(() => [JSON.stringify({ ...localStorage }), JSON.stringify({ ...sessionStorage })]);
  assert.ok(!kept[0].includes(site.functionKey) && !kept.join().includes(site.adminKey));
  await page.reload();
  await answered(page);
  assert.equal(await page.getByLabel('Function key').inputValue(), site.functionKey);
}

export async function a_broken_mapping_is_marked_at_its_line(page, site) {
  await open(page, site);
  const broken = structuredClone(PULSE_DEVICE);
  broken.template[0].template.typMatchExpression = '$..x';
  await put(page, 'device', broken);
  await answered(page);
  const marked = page.locator('#device .cm-lint-marker-error').first();
  await marked.waitFor();
  const [finding] = await findings(page).filter({ hasText: 'typMatchExpression' }).all();
  const line = 1 + JSON.stringify(broken, null, 2).split('\n').findIndex((each) => each.includes('typMatch'));
  const jump = finding.getByRole('button', { name: `Device mapping ${line}:` });
  const mark = await marked.boundingBox();
  const number = await page.locator('#device .cm-lineNumbers .cm-gutterElement', { hasText: new RegExp(`^${line}$`) }).boundingBox();
  assert.ok(Math.abs(mark.y - number.y) < number.height, 'the mark is at the line of the finding');
  assert.equal(await page.locator('#device .cm-lintRange-error').count(), 1);
  await jump.click();
  assert.match(await page.locator('#device .cm-activeLine').innerText(), /typMatchExpression/);
}

export async function fixes_mend_what_they_name(page, site) {
  await open(page, site);
  await sample(page, 'Mistakes to mend');
  for (;;) {
    const fix = page.locator('#finding-list .fix').first();
    if (!(await fix.count())) break;
    const title = await fix.innerText();
    await fix.click();
    await page.getByText(`Done: ${title.replace('Fix: ', '')}.`).waitFor();
    await answered(page);
    assert.ok((await findings(page).count()) < 20);
  }
  const mended = await text(page, 'fhir');
  assert.match(await text(page, 'device'), /"typeName": "temperatur"/);
  assert.match(await text(page, 'device'), /`32`/);
  assert.match(mended, /"code": "Cel"/);
  assert.match(mended, /vital-signs/);
  assert.match(mended, /"code": "8310-5"/);
  await page.locator('#summary', { hasText: '0 errors' }).or(page.getByText('No findings.')).waitFor();
  assert.equal(await cards(page, 'stored').count(), 2);
}

export async function a_message_is_shown_as_measurement_and_observation(page, site) {
  await open(page, site);
  await cards(page, 'measurements').first().waitFor();
  assert.match(await cards(page, 'measurements').first().innerText(), /heartRate[^]*2026-03-02T08:00:00\.2500000Z[^]*device-01[^]*71/);
  await page.locator('#which').selectOption({ label: '3 of 4' });
  assert.deepEqual(await page.locator('#measurements h3').allInnerTexts(), ['oxygenSaturation', 'bodyTemperature']);
  assert.deepEqual(await page.locator('#stored h3').allInnerTexts(), ['heartRate', 'bloodPressure', 'oxygenSaturation', 'bodyTemperature', 'steps']);
  await cards(page, 'stored').first().getByText('JSON').click();
  await page.locator('#stored pre').first().getByText('"resourceType": "Observation"').waitFor();
}

export async function three_readings_of_an_hour_are_one_observation(page, site) {
  await open(page, site);
  await sample(page, 'Three readings of an hour');
  assert.equal(await cards(page, 'stored').count(), 1);
  const card = cards(page, 'stored').first();
  assert.match(await card.innerText(), /95 102 110 E[^]*of messages\s+1, 2, 3/);
  await card.getByRole('img', { name: '3 samples of 4, from 95 to 110 mg/dL' }).waitFor();
  assert.match(await card.locator('svg path').getAttribute('d'), /^M[\d. ]+L[\d. ]+L[\d. ]+$/);
}

export async function markup_stays_text(page, site) {
  await open(page, site);
  const markup = '<img src=x onerror="document.title=1"><script>document.title=2</script>';
  const mapping = structuredClone(PULSE_DEVICE);
  mapping.template[0].template.typeName = markup;
  await put(page, 'device', mapping);
  await put(page, 'message', { ...PULSE, device: markup, pulse: `${markup}7`, [markup]: 1 });
  await answered(page);
  await page.locator('#measurements', { hasText: 'onerror' }).waitFor();
  await page.locator('#draft', { hasText: 'onerror' }).waitFor();
  await page.getByRole('button', { name: markup }).click();
  await page.getByRole('dialog').getByText('onerror').first().waitFor();
  assert.equal(await page.locator('img, body script').count(), 0);
  assert.equal(await page.title(), 'Mapping debugger');
}

export async function numbers_are_sent_as_they_are_written(page, site) {
  const asked = [];
  page.on('request', (request) => request.url().endsWith('/validate') && asked.push(request.postData()));
  await open(page, site);
  await put(page, 'message', '{"device":"a","time":1772438400000123456789,"pulse":1.50}');
  await answered(page);
  assert.ok(asked.at(-1).includes('"time":1772438400000123456789,"pulse":1.50'));
}

export async function a_body_that_is_no_json_is_sent_as_it_is(page, site) {
  await open(page, site);
  await put(page, 'message', '{"device": ');
  await answered(page);
  await findings(page).filter({ hasText: 'JSON' }).first().waitFor();
}

export async function the_keyboard_is_enough(page, site) {
  await open(page, site);
  await sample(page, 'Mistakes to mend');
  await page.evaluate(() => document.activeElement.blur());
  await page.mouse.click(1, 1);
  const focused = () =>
    page.evaluate(() => {
      const active = document.activeElement;
      return active.shadowRoot?.activeElement?.getAttribute('aria-label') ?? active.id ?? '';
    });
  const order = [];
  for (let count = 0; count < 40 && !order.includes('Messages'); count += 1) {
    await page.keyboard.press('Tab');
    order.push(await focused());
  }
  const stops = ['function-key', 'admin-key', 'theme', 'sample', 'load-in-force', 'load-comparison', 'Device mapping', 'FHIR mapping', 'reading', 'Messages'];
  assert.deepEqual(order.filter((each) => stops.includes(each)), stops);
  const tab = async (wanted) => {
    for (let count = 0; count < 20; count += 1) {
      await page.keyboard.press('Tab');
      if (await page.evaluate((name) => document.activeElement.classList.contains(name), wanted)) return;
    }
    assert.fail(`no ${wanted} is reached`);
  };
  await tab('jump');
  await page.keyboard.press('Enter');
  assert.ok(['Device mapping', 'FHIR mapping'].includes(await focused()), 'a finding brings its editor to the front');
  await page.keyboard.press('F8');
  await page.getByRole('textbox', { name: 'Messages' }).focus();
  await tab('fix');
  const title = await page.evaluate(() => document.activeElement.innerText);
  await page.keyboard.press('Enter');
  await page.getByText(`Done: ${title.replace('Fix: ', '')}.`).waitFor();
  await answered(page);
  assert.equal(await page.getByRole('button', { name: title }).count(), 0);
}

export async function the_skip_link_leads_to_the_findings(page, site) {
  await open(page, site);
  await page.evaluate(() => document.activeElement.blur());
  await page.mouse.click(1, 1);
  await page.keyboard.press('Tab');
  await page.getByRole('link', { name: 'Skip to the findings' }).press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'findings');
}

const axe = createRequire(join(ROOT, 'dev/page/package.json')).resolve('axe-core/axe.min.js');

async function sound(page) {
  const source = await readFile(axe, 'utf8');
  // By the debugger's protocol, which the Content-Security-Policy of the page does not hold back.
  const client = await page.context().newCDPSession(page);
  await client.send('Runtime.evaluate', { expression: source });
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  const serious = violations.filter(({ impact }) => ['serious', 'critical'].includes(impact));
  assert.deepEqual(serious.map(({ id, nodes }) => [id, nodes.map(({ target, failureSummary }) => [target.join(), failureSummary])]), []);
}

export async function axe_finds_no_serious_fault(page, site) {
  await open(page, site);
  await sound(page);
  await sample(page, 'Mistakes to mend');
  await sound(page);
  await page.locator('#theme').selectOption('dark');
  await sound(page);
  await page.locator('#draft button').first().click();
  await sound(page);
}

export async function a_phone_shows_it_without_scrolling_sideways(page, site) {
  await page.setViewportSize({ width: 360, height: 740 });
  await open(page, site);
  await sample(page, 'Mistakes to mend');
  assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 360);
  await sound(page);
}

export async function colours_follow_the_system_or_the_choice(page, site) {
  const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.emulateMedia({ colorScheme: 'dark' });
  await open(page, site);
  const dark = await paper();
  await page.locator('#theme').selectOption('light');
  const light = await paper();
  assert.notEqual(dark, light);
  await page.reload();
  await page.waitForSelector('html[data-ready]');
  assert.equal(await paper(), light);
}

export async function completion_offers_what_the_place_takes(page, site) {
  await open(page, site);
  const offered = async (kind, before, after) => {
    await put(page, kind, before + after);
    for (let count = 0; count < after.length; count += 1) await page.keyboard.press('ArrowLeft');
    await page.keyboard.press('Control+Space');
    await page.locator(`#${kind} .cm-tooltip-autocomplete li`).first().waitFor();
    const labels = await page.locator(`#${kind} .cm-tooltip-autocomplete .cm-completionLabel`).allInnerTexts();
    await page.keyboard.press('Escape');
    return labels;
  };
  await put(page, 'device', PULSE_DEVICE);
  const inside = '{"templateType":"CollectionFhir","template":[{"templateType":"CodeValueFhir","template":{';
  assert.ok((await offered('fhir', `${inside}"typeName":"`, '"}}]}')).includes('pulse'));
  assert.ok((await offered('fhir', `${inside}"value":{"valueName":"`, '"}}}]}')).includes('pulse'));
  assert.ok((await offered('fhir', `${inside}"value":{"unit":"`, '"}}}]}')).includes('mm[Hg]'));
  assert.ok((await offered('fhir', `${inside}"value":{"`, '"}}}]}')).includes('valueType'));
  assert.ok((await offered('fhir', `${inside}"`, '"}}]}')).includes('periodInterval'));
  const kinds = await offered('device', '{"templateType":"CollectionContent","template":[{"templateType":"', '"}]}');
  assert.ok(kinds.includes('IotJsonPathContent'));
  const calculated = '{"templateType":"CollectionContent","template":[{"templateType":"CalculatedContent","template":{';
  assert.ok((await offered('device', `${calculated}"timestampExpression":{"value":"fromU`, '"}}}]}')).includes('fromUnixTimestampMs'));
  await page.keyboard.press('Control+Space');
  await page.locator('#device .cm-tooltip-autocomplete li', { hasText: 'fromUnixTimestampMs' }).click();
  await page.locator('#device .cm-content', { hasText: '"fromUnixTimestampMs"' }).waitFor();
}

export async function a_template_lights_up_what_it_took(page, site) {
  await open(page, site);
  await sample(page, 'Mistakes to mend');
  await page.locator('#finding-list .fix').first().click();
  await answered(page);
  const lit = async () => (await page.locator('#message .lit').allInnerTexts()).join('');
  await page.locator('[data-template="0"] h3').hover();
  assert.match(await lit(), /98\.6[^]*99\.1/);
  await page.getByText('/Body/readings/1').click();
  await page.locator('[data-template="0"] .card', { hasText: 'values/0/valueExpression' }).hover();
  await page.locator('[data-template="0"] .card', { hasText: 'deviceIdExpression' }).hover();
  assert.equal(await lit(), '"thermometer-7"');
  await page.mouse.move(1, 1);
  assert.equal(await lit(), '');
  await page.locator('[data-template="0"]').focus();
  assert.match(await lit(), /98\.6[^]*99\.1/);
}

export async function a_value_shows_the_expression_that_took_it_step_by_step(page, site) {
  await open(page, site);
  const value = page.locator('#message .cm-line', { hasText: '"heartRate": 71' });
  const box = await value.boundingBox();
  await page.mouse.move(box.x + 30, box.y + box.height / 2);
  await page.mouse.move(box.x + 40, box.y + box.height / 2);
  const steps = page.locator('#message .steps');
  await steps.waitFor();
  assert.match(await steps.innerText(), /Template 1, heartRate[^]*\$\.matchedToken\.heartRate[^]*gives 71[^]*\$\.matchedToken →/);
}

export async function a_value_shows_what_was_computed_with_it(page, site) {
  await open(page, site);
  await sample(page, 'Mistakes to mend');
  await page.locator('#finding-list .fix').first().click();
  await answered(page);
  const box = await page.locator('#message .cm-line', { hasText: '"temp": 98.6' }).boundingBox();
  await page.mouse.move(box.x + 60, box.y + box.height / 2);
  await page.mouse.move(box.x + 70, box.y + box.height / 2);
  await page.locator('#message .steps').waitFor();
  assert.match(await page.locator('#message .steps').innerText(), /gives 36\.9[^]*subtract\(matchedToken\.temp, `32`\)\s*→\s*66\.6/);
}

export async function what_has_changed_is_compared_with_the_last_good_state(page, site) {
  await open(page, site);
  await put(page, 'device', PULSE_DEVICE);
  await put(page, 'fhir', PULSE_FHIR);
  await put(page, 'message', PULSE);
  await answered(page);
  await put(page, 'message', { ...PULSE, pulse: 99 });
  await answered(page);
  assert.match(await page.locator('#changes del').first().innerText(), /"71"/);
  assert.match(await page.locator('#changes ins').first().innerText(), /"99"/);
  await put(page, 'message', { ...PULSE, time: 'never' });
  await answered(page);
  assert.match(await page.locator('#changes del').first().innerText(), /"99"/);
}

export async function a_link_holds_the_state(page, site) {
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  await open(page, site);
  await put(page, 'message', { ...PULSE, pulse: 42, note: 'Grüße' });
  await answered(page);
  await page.getByRole('button', { name: 'Copy link' }).click();
  await page.getByText('The link was copied. It holds the mappings and the messages').waitFor();
  const address = await page.evaluate(() => navigator.clipboard.readText());
  assert.ok(address.startsWith(`${site.url}#`));
  assert.ok(!address.includes(site.functionKey));
  const other = await page.context().newPage();
  await other.goto(address);
  await other.waitForSelector('html[data-ready]');
  await other.locator('#message .cm-content', { hasText: 'Grüße' }).waitFor();
  assert.equal(await other.evaluate(() => location.href), site.url);
}

export async function a_damaged_link_is_refused(page, site) {
  await page.goto(`${site.url}#state=AAAA`);
  await page.getByText('The link is damaged').waitFor();
}

export async function mappings_in_force_are_loaded_with_the_admin_key(page, site) {
  await open(page, site);
  await sample(page, 'Three readings of an hour');
  await page.getByLabel('Admin key').fill(site.adminKey);
  await page.getByRole('button', { name: 'Load mappings in force' }).click();
  await page.locator('#device .cm-content', { hasText: 'heartRate' }).waitFor();
  await answered(page);
  assert.equal(await text(page, 'fhir'), await readFile(join(ROOT, 'mappings/fhirDestinationMapping.json'), 'utf8'));
}

export async function a_dead_letter_is_loaded_as_a_message(page, site) {
  await open(page, site);
  await page.getByLabel('Admin key').fill(site.adminKey);
  await page.getByRole('button', { name: 'Dead letters' }).click();
  await page.locator('#letter-list .card').first().waitFor();
  await page.locator('#letter-list').getByRole('button', { name: 'Load an example' }).first().click();
  await page.locator('#message .cm-content', { hasText: 'no time at all' }).waitFor();
  await findings(page).filter({ hasText: 'error' }).first().waitFor();
}

export async function files_are_dropped_and_saved(page, site) {
  await open(page, site);
  const drop = (kind, name, content) =>
    page.evaluate(
      ([target, file, body]) => {
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([body], file));
        document.getElementById(target).dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true }));
      },
      [kind, name, content],
    );
  await drop('message', 'anything.json', JSON.stringify(PULSE_DEVICE));
  await drop('message', 'lines.jsonl', `${JSON.stringify(PULSE)}\n${JSON.stringify({ ...PULSE, pulse: 72 })}\n`);
  await page.locator('#device .cm-content', { hasText: '@pulse' }).waitFor();
  await page.locator('#which').getByText('1 of 2').waitFor({ state: 'attached' });
  assert.equal(await text(page, 'device'), JSON.stringify(PULSE_DEVICE));
  const saved = page.waitForEvent('download', (download) => download.suggestedFilename() === 'deviceMapping.json');
  await page.getByRole('button', { name: 'Download' }).click();
  assert.equal(await readFile(await (await saved).path(), 'utf8'), JSON.stringify(PULSE_DEVICE));
  const chooser = page.waitForEvent('filechooser');
  await page.getByRole('button', { name: 'Open files' }).click();
  await (await chooser).setFiles({ name: 'one.json', mimeType: 'application/json', buffer: Buffer.from(JSON.stringify({ ...PULSE, pulse: 73 })) });
  await page.locator('#message .cm-content', { hasText: '73' }).waitFor();
}

export async function many_messages_are_folded(page, site) {
  await open(page, site);
  await put(page, 'device', PULSE_DEVICE);
  const messages = Array.from({ length: 300 }, (_, at) =>
    at % 3 ? { ...PULSE, pulse: at, time: new Date(1772438400000 + 60000 * at).toISOString() } : { device: 'strap-1', battery: at },
  );
  await put(page, 'message', messages.map((each) => JSON.stringify(each)).join('\n'));
  await page.locator('#coverage').waitFor();
  const row = (name) => page.locator('#coverage tr', { hasText: name }).innerText();
  assert.match(await row('pulse'), /200\s+66\.7 %/);
  assert.match(await row('none'), /100\s+33\.3 %/);
  const [unmatched] = await page.locator('#batch-findings tr', { hasText: '100 messages' }).all();
  assert.match(await unmatched.innerText(), /battery/);
  await sound(page);
}

export async function a_template_is_drafted_from_a_property(page, site) {
  await open(page, site);
  await put(page, 'device', '');
  await put(page, 'fhir', '');
  await put(page, 'message', { readings: [{ deviceId: 'cuff-1', at: 1772438400000, sys: 121, dia: 79, spo2: 97 }] });
  await answered(page);
  for (const name of ['sys: 121', 'spo2: 97']) {
    await page.getByRole('button', { name }).click();
    await page.getByRole('button', { name: 'Add to both mappings' }).click();
    await answered(page);
  }
  assert.deepEqual(await page.locator('#stored h3').allInnerTexts(), ['bloodPressure', 'oxygenSaturation']);
  const fhir = JSON.parse(await text(page, 'fhir'));
  const [pressure, saturation] = fhir.template.map(({ template }) => template);
  assert.equal(pressure.category[0].codes[0].code, 'vital-signs');
  assert.deepEqual(pressure.components.map(({ codes, value }) => [codes[0].code, value.code]), [['8480-6', 'mm[Hg]'], ['8462-4', 'mm[Hg]']]);
  assert.deepEqual(saturation.codes.map(({ code }) => code), ['2708-6', '59408-5']);
  await page.getByText('No findings.').waitFor();
}

export async function a_mebibyte_of_message_is_answered(page, site) {
  await open(page, site);
  await put(page, 'device', PULSE_DEVICE);
  const readings = [];
  for (let size = 0; size < 1024 * 1024; size += 97) readings.push({ ...PULSE, note: 'x'.repeat(20), at: readings.length });
  const buffer = Buffer.from(JSON.stringify({ readings }));
  assert.ok(buffer.length > 1024 * 1024);
  await page.locator('#files').setInputFiles({ name: 'large.json', mimeType: 'application/json', buffer });
  await page.locator('#measurements').getByText(/Show more \(\d{4,} left\)/).waitFor();
  await answered(page);
}

export async function the_page_works_without_its_bundle(page, site) {
  await page.route(site.url, async (route) => {
    const answer = await route.fetch();
    await route.fulfill({ response: answer, body: (await answer.text()).replace('data-bundle="present"', 'data-bundle="absent"') });
  });
  await open(page, site);
  await page.getByText('Run make page before the app').waitFor();
  await page.getByRole('textbox', { name: 'Messages' }).fill(JSON.stringify({ ...PULSE, time: 'never' }));
  await page.getByRole('textbox', { name: 'Device mapping' }).fill(JSON.stringify(PULSE_DEVICE));
  await answered(page);
  const [finding] = await findings(page).filter({ hasText: 'never' }).all();
  await finding.locator('.jump').click();
  await sound(page);
}

/** For other modules of scenarios. */
export { sound };

/** No scenario of its own: what the driver has to report. */
export { violate as _violate_the_policy };

async function violate(page, site) {
  await open(page, site);
  await page.evaluate(() => {
    document.body.append(Object.assign(document.createElement('style'), { textContent: 'p { color: red }' }));
    return fetch('https://other.invalid/').catch(() => undefined);
  });
}
