"""An echo bot on python-telegram-bot, which judges the double: base URL, token, `poll` or `webhook`, port."""
import asyncio
import sys

from telegram import BotCommand, InlineKeyboardButton, InlineKeyboardMarkup, ReactionTypeEmoji, ReplyParameters
from telegram.error import BadRequest, Conflict, Forbidden, RetryAfter
from telegram.ext import Application, CallbackQueryHandler, ChatMemberHandler, CommandHandler, MessageHandler, filters

base, token, mode, port = sys.argv[1:5]


async def start(update, context):
    await update.message.reply_chat_action("typing")
    keyboard = InlineKeyboardMarkup([[
        InlineKeyboardButton("Press", callback_data="press:1"),
        InlineKeyboardButton("Look", url="https://example.org/"),
    ]])
    await update.message.reply_text(f"Hello {update.effective_user.first_name}", reply_markup=keyboard)


async def bad(update, context):
    try:
        await update.message.reply_text("oops.", parse_mode="MarkdownV2")
    except BadRequest as error:
        await update.message.reply_text(f"refused: {error.message}")


async def blocked(update, context):
    try:
        await context.bot.send_message(int(context.args[0]), "anybody?")
    except Forbidden as error:
        await update.message.reply_text(f"forbidden: {error.message}")


async def conflict(update, context):
    try:
        await context.bot.get_updates()
    except Conflict as error:
        await update.message.reply_text(f"conflict: {error.message}")


async def who(update, context):
    member = await context.bot.get_chat_member(update.effective_chat.id, update.effective_user.id)
    chat = await context.bot.get_chat(update.effective_chat.id)
    own = await context.bot.get_chat_member(update.effective_chat.id, context.bot.id)
    await update.message.set_reaction(ReactionTypeEmoji("👀"))
    await update.message.reply_text(f"{member.status} in {chat.type}, {own.status}")


async def document(update, context):
    given = update.message.document
    content = bytes(await (await given.get_file()).download_as_bytearray())
    await update.message.reply_document(content, filename=f"back-{given.file_name}", caption=f"{len(content)} bytes",
                                        disable_notification=True)


async def delete(update, context):
    sent = await update.message.reply_text("soon gone")
    await sent.delete()
    await update.message.delete()


async def echo(update, context):
    for _ in range(3):
        try:
            return await update.message.reply_markdown_v2(
                f"*{update.message.text}*", reply_parameters=ReplyParameters(update.message.message_id))
        except RetryAfter as error:
            wait = error.retry_after
            await asyncio.sleep(wait if isinstance(wait, int) else wait.total_seconds())


async def press(update, context):
    await update.callback_query.answer("Pressed", show_alert=True)
    await update.callback_query.edit_message_text(f"You pressed {update.callback_query.data}")


async def member(update, context):
    print("member:", update.my_chat_member.new_chat_member.status, flush=True)


async def ready(app):
    await app.bot.set_my_commands([BotCommand("start", "Begin")], language_code="en")


app = (Application.builder().token(token).base_url(f"{base}/bot").base_file_url(f"{base}/file/bot")
       .post_init(ready).build())
for name, handler in [("start", start), ("bad", bad), ("blocked", blocked), ("conflict", conflict), ("who", who),
                      ("delete", delete)]:
    app.add_handler(CommandHandler(name, handler))
app.add_handler(CallbackQueryHandler(press))
app.add_handler(ChatMemberHandler(member))
app.add_handler(MessageHandler(filters.Document.ALL, document))
app.add_handler(MessageHandler(filters.TEXT & ~filters.COMMAND, echo))
if mode == "poll":
    app.run_polling(timeout=10, poll_interval=0, allowed_updates=["message", "callback_query", "my_chat_member"])
else:
    app.run_webhook(listen="127.0.0.1", port=int(port), url_path="hook", webhook_url=f"http://127.0.0.1:{port}/hook",
                    secret_token="made-up-secret", max_connections=4)
