// Replays the same calls on the double and on the npm `telegram-test-api`, and prints one line for each call that is
// answered differently: base URL and token of the double, free port for the peer.
import TelegramServer from 'telegram-test-api';

const [base, token, port] = process.argv.slice(1).filter((one) => one !== '--');
const Server = TelegramServer.default ?? TelegramServer;
const peer = new Server({ port: Number(port), host: '127.0.0.1', storage: 'RAM', storeTimeout: 60 });
await peer.start();

const post = async (url, body) => {
  const answer = await fetch(url, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body ?? {}),
  });
  const text = await answer.text();
  try {
    return { status: answer.status, body: JSON.parse(text) };
  } catch {
    return { status: answer.status, body: text };
  }
};
const control = async (path, body) => (await post(`${base}/_control/${path}`, body)).body;
const anna = await control('people', { name: 'Anna' });
const client = peer.getClient(token, { userId: anna.id, chatId: anna.id, firstName: 'Anna' });

// Where two values differ in shape, in words that do not depend on numbers, names and times.
const differences = (ours, theirs, path = '') => {
  const kind = (value) => (value === null ? 'null' : Array.isArray(value) ? `${value.length} of` : typeof value);
  if (kind(ours) !== kind(theirs)) return [`${path || 'result'} ${kind(ours)} | ${kind(theirs)}`];
  if (ours === null || typeof ours !== 'object') return [];
  const keys = [...new Set([...Object.keys(ours), ...Object.keys(theirs)])].sort();
  return keys.flatMap((key) => {
    const at = Array.isArray(ours) ? path : `${path}.${key}`;
    if (theirs[key] === undefined) return [`${at} only ours`];
    if (ours[key] === undefined) return [`${at} only theirs`];
    return differences(ours[key], theirs[key], at);
  });
};
const verdict = (ours, theirs) => {
  const ok = (answer) => (answer.body?.ok === true ? 'done' : `refused ${answer.status}`);
  if (ok(ours) !== ok(theirs)) return `${ok(ours)} | ${ok(theirs)}`;
  return differences(ours.body.result ?? null, theirs.body.result ?? null).join(', ') || 'same';
};
let last = {};
const both = async (name, method, body, own = body) => {
  const [ours, theirs] = await Promise.all([
    post(`${base}/bot${token}/${method}`, own), post(`${peer.config.apiURL}/bot${token}/${method}`, body),
  ]);
  last = { ours: ours.body?.result, theirs: theirs.body?.result };
  console.log(`${name}: ${verdict(ours, theirs)}`);
};

await both('who am I', 'getMe');
await both('nothing to tell', 'getUpdates', { timeout: 0 });
await Promise.all([
  control('say', { from: anna.id, text: 'hello' }), client.sendMessage(client.makeMessage('hello')),
]);
await both('a word', 'getUpdates', { offset: 1 });
await both('the same again, unconfirmed', 'getUpdates', { offset: 1 });
const chat = { chat_id: anna.id };
const keyboard = { inline_keyboard: [[{ text: 'a', callback_data: 'b' }]] };
await both('send', 'sendMessage', { ...chat, text: 'hi', reply_markup: keyboard });
const edit = (id, text) => ({ ...chat, message_id: id, text });
const { ours, theirs } = last;
await both('edit', 'editMessageText', edit(theirs.message_id, 'ho'), edit(ours.message_id, 'ho'));
await both('edit to the same', 'editMessageText', edit(theirs.message_id, 'ho'), edit(ours.message_id, 'ho'));
const gone = (id) => ({ ...chat, message_id: id });
await both('delete', 'deleteMessage', gone(theirs.message_id), gone(ours.message_id));
await both('delete again', 'deleteMessage', gone(theirs.message_id), gone(ours.message_id));
await both('nobody pressed', 'answerCallbackQuery', { callback_query_id: '1' });
await both('an empty text', 'sendMessage', { ...chat, text: '' });
await both('a long text', 'sendMessage', { ...chat, text: 'a'.repeat(5000) });
await both('broken marks', 'sendMessage', { ...chat, text: '*a', parse_mode: 'MarkdownV2' });
await both('a chat of nobody', 'sendMessage', { chat_id: 5, text: 'a' });
await both('a method of nobody', 'getEverything');
await both('no webhook', 'deleteWebhook');
await peer.stop();
process.exit(0);
