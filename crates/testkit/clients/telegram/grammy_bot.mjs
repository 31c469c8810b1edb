// An echo bot on grammY, which judges the double: base URL, token, `poll` or `webhook`, port.
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { Bot, GrammyError, InlineKeyboard, InputFile, webhookCallback } from 'grammy';

const [base, token, mode, port] = process.argv.slice(1).filter((one) => one !== '--');
const bot = new Bot(token, { client: { apiRoot: base } });
const refused = async (code, action) => {
  try {
    await action();
  } catch (error) {
    if (error instanceof GrammyError && error.error_code === code) return error;
    throw error;
  }
  throw new Error(`no ${code}`);
};

bot.command('start', async (ctx) => {
  await ctx.replyWithChatAction('typing');
  const keyboard = new InlineKeyboard().text('Press', 'press:1').url('Look', 'https://example.org/');
  await ctx.reply(`Hello ${ctx.from.first_name}`, { reply_markup: keyboard });
});
bot.command('bad', async (ctx) => {
  const error = await refused(400, () => ctx.reply('oops.', { parse_mode: 'MarkdownV2' }));
  await ctx.reply(`refused: ${error.description.replace('Bad Request: ', '')}`);
});
bot.command('blocked', async (ctx) => {
  const error = await refused(403, () => bot.api.sendMessage(Number(ctx.match), 'anybody?'));
  await ctx.reply(`forbidden: ${error.description}`);
});
bot.command('conflict', async (ctx) => {
  const error = await refused(409, () => bot.api.getUpdates());
  await ctx.reply(`conflict: ${error.description}`);
});
bot.command('who', async (ctx) => {
  const member = await ctx.getChatMember(ctx.from.id);
  const chat = await ctx.getChat();
  const own = await ctx.getChatMember(bot.botInfo.id);
  await ctx.react('👀');
  await ctx.reply(`${member.status} in ${chat.type}, ${own.status}`);
});
bot.command('delete', async (ctx) => {
  const sent = await ctx.reply('soon gone');
  await ctx.api.deleteMessage(ctx.chat.id, sent.message_id);
  await ctx.deleteMessage();
});
bot.on('callback_query:data', async (ctx) => {
  await ctx.answerCallbackQuery({ text: 'Pressed', show_alert: true });
  await ctx.editMessageText(`You pressed ${ctx.callbackQuery.data}`);
});
bot.on('my_chat_member', (ctx) => console.log('member:', ctx.myChatMember.new_chat_member.status));
bot.on(':document', async (ctx) => {
  const file = await ctx.getFile();
  const answer = await fetch(`${base}/file/bot${token}/${file.file_path}`);
  const content = new Uint8Array(await answer.arrayBuffer());
  await ctx.replyWithDocument(new InputFile(content, `back-${ctx.msg.document.file_name}`), {
    caption: `${content.length} bytes`, disable_notification: true,
  });
});
bot.on(':text', async (ctx) => {
  for (let n = 0; n < 3; n += 1) {
    try {
      return await ctx.reply(`*${ctx.msg.text}*`, {
        parse_mode: 'MarkdownV2', reply_parameters: { message_id: ctx.msg.message_id },
      });
    } catch (error) {
      if (error.error_code !== 429) throw error;
      await sleep(error.parameters.retry_after * 1000);
    }
  }
});

await bot.api.setMyCommands([{ command: 'start', description: 'Begin' }], { language_code: 'en' });
if (mode === 'poll') {
  for (;;) {
    try {
      await bot.start({ timeout: 10, allowed_updates: ['message', 'callback_query', 'my_chat_member'] });
    } catch (error) {
      // grammY gives up on a conflict; the bot goes on.
      if (error.error_code !== 409) throw error;
      await sleep(300);
    }
  }
} else {
  await bot.init();
  createServer(webhookCallback(bot, 'http', { secretToken: 'made-up-secret' })).listen(Number(port), '127.0.0.1');
  await bot.api.setWebhook(`http://127.0.0.1:${port}/hook`, { secret_token: 'made-up-secret', max_connections: 4 });
}
