"""An echo bot on aiogram, which judges the double: base URL, token, `poll` or `webhook`, port."""
import asyncio
import sys

from aiogram import Bot, Dispatcher, F
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import (TelegramBadRequest, TelegramConflictError, TelegramForbiddenError,
                                TelegramRetryAfter)
from aiogram.filters import Command, CommandObject
from aiogram.types import (BotCommand, BufferedInputFile, CallbackQuery, ChatMemberUpdated, InlineKeyboardButton,
                           InlineKeyboardMarkup, Message, ReactionTypeEmoji, ReplyParameters)
from aiogram.webhook.aiohttp_server import SimpleRequestHandler, setup_application
from aiohttp import web

base, token, mode, port = sys.argv[1:5]
bot = Bot(token, session=AiohttpSession(api=TelegramAPIServer.from_base(base)))
dp = Dispatcher()


@dp.message(Command("start"))
async def start(message: Message):
    await bot.send_chat_action(message.chat.id, "typing")
    keyboard = InlineKeyboardMarkup(inline_keyboard=[[
        InlineKeyboardButton(text="Press", callback_data="press:1"),
        InlineKeyboardButton(text="Look", url="https://example.org/"),
    ]])
    await message.answer(f"Hello {message.from_user.first_name}", reply_markup=keyboard)


@dp.message(Command("bad"))
async def bad(message: Message):
    try:
        await message.answer("oops.", parse_mode="MarkdownV2")
    except TelegramBadRequest as error:
        await message.answer(f"refused: {error.message.removeprefix('Bad Request: ')}")


@dp.message(Command("blocked"))
async def blocked(message: Message, command: CommandObject):
    try:
        await bot.send_message(int(command.args), "anybody?")
    except TelegramForbiddenError as error:
        await message.answer(f"forbidden: {error.message}")


@dp.message(Command("conflict"))
async def conflict(message: Message):
    try:
        await bot.get_updates()
    except TelegramConflictError as error:
        await message.answer(f"conflict: {error.message}")


@dp.message(Command("who"))
async def who(message: Message):
    member = await bot.get_chat_member(message.chat.id, message.from_user.id)
    chat = await bot.get_chat(message.chat.id)
    own = await bot.get_chat_member(message.chat.id, bot.id)
    await message.react([ReactionTypeEmoji(emoji="👀")])
    await message.answer(f"{member.status} in {chat.type}, {own.status}")


@dp.message(Command("delete"))
async def delete(message: Message):
    sent = await message.answer("soon gone")
    await sent.delete()
    await message.delete()


@dp.message(F.document)
async def document(message: Message):
    content = (await bot.download(message.document)).read()
    await message.answer_document(BufferedInputFile(content, f"back-{message.document.file_name}"),
                                  caption=f"{len(content)} bytes", disable_notification=True)


@dp.message(F.text)
async def echo(message: Message):
    for _ in range(3):
        try:
            return await message.answer(f"*{message.text}*", parse_mode="MarkdownV2",
                                        reply_parameters=ReplyParameters(message_id=message.message_id))
        except TelegramRetryAfter as error:
            await asyncio.sleep(error.retry_after)


@dp.callback_query()
async def press(query: CallbackQuery):
    await query.answer("Pressed", show_alert=True)
    await query.message.edit_text(f"You pressed {query.data}")


@dp.my_chat_member()
async def member(update: ChatMemberUpdated):
    print("member:", update.new_chat_member.status, flush=True)


async def poll():
    await bot.set_my_commands([BotCommand(command="start", description="Begin")], language_code="en")
    await dp.start_polling(bot, polling_timeout=10, handle_signals=False,
                           allowed_updates=["message", "callback_query", "my_chat_member"])


async def hook(_app):
    await bot.set_my_commands([BotCommand(command="start", description="Begin")], language_code="en")
    await bot.set_webhook(f"http://127.0.0.1:{port}/hook", secret_token="made-up-secret", max_connections=4)

if mode == "poll":
    asyncio.run(poll())
else:
    app = web.Application()
    SimpleRequestHandler(dispatcher=dp, bot=bot, secret_token="made-up-secret").register(app, path="/hook")
    setup_application(app, dp, bot=bot)
    app.on_startup.append(hook)
    web.run_app(app, host="127.0.0.1", port=int(port), print=None)
