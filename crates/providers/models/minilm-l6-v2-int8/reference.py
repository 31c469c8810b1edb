"""Token ids and vectors of the reference (Hugging Face tokenizers, ONNX Runtime) for the golden test; see README.md."""

import json
import pathlib

import numpy
import onnxruntime
from tokenizers import BertWordPieceTokenizer

HERE = pathlib.Path(__file__).parent
SENTENCES = [
    "How do I reset my password?",
    "I forgot my login credentials and cannot sign in.",
    "The recipe needs two eggs, flour and a pinch of salt.",
    "Whisk eggs into the flour to make the dough.",
    "A circuit breaker opens after five consecutive failures.",
    "When calls keep failing, the breaker trips and refuses new ones.",
    "The cat sleeps on the warm windowsill.",
    "A kitten is napping in the sun by the window.",
    "Paris is the capital of France.",
    "France's seat of government lies in Paris.",
    "Quarterly revenue grew by 12.5 % to €3,400,000.",
    "don't split C++ or e-mail@example.org oddly!?",
    "Crème brûlée à la carte, naïve café, ÅNGSTRÖM",
    "Как сбросить пароль, если я его забыл?",
    "Straße, Größe und Übermut: GROSSE Worte",
    "機械学習は楽しい 한국어 텍스트 العربية",
    "emoji 🙂🚀 and zero\u200bwidth\u00a0space\ttab",
    "supercalifragilisticexpialidocious antidisestablishmentarianism " + "x" * 120,
    "[CLS] special [SEP] markers [MASK] are plain text here",
    "Ελληνικά ΣΊΣΥΦΟΣ, İstanbul, ǅ, ﬁne — “quotes” … ‰ ™ ½",
    "The quick brown fox jumps over the lazy dog. " * 40,
    "",
]
MAX_TOKENS = 256


def main() -> None:
    tokenizer = BertWordPieceTokenizer(str(HERE / "vocab.txt"), lowercase=True)
    session = onnxruntime.InferenceSession(str(HERE / "model.onnx"))
    lines = []
    for text in SENTENCES:
        # Special markers in a text are plain words to us: a caller must not be able to write control tokens.
        plain = tokenizer._tokenizer.normalizer.normalize_str(text)
        words = [word for word, _ in tokenizer._tokenizer.pre_tokenizer.pre_tokenize_str(plain)]
        pieces = [piece.id for word in words for piece in tokenizer._tokenizer.model.tokenize(word)]
        ids = [101, *pieces[: MAX_TOKENS - 2], 102]
        feed = {
            "input_ids": numpy.array([ids], dtype=numpy.int64),
            "attention_mask": numpy.ones((1, len(ids)), dtype=numpy.int64),
            "token_type_ids": numpy.zeros((1, len(ids)), dtype=numpy.int64),
        }
        hidden = session.run(None, feed)[0][0]
        vector = hidden.mean(axis=0)
        vector /= numpy.linalg.norm(vector)
        rounded = [round(float(value), 6) for value in vector]
        lines.append(json.dumps({"text": text, "ids": ids, "vector": rounded}, ensure_ascii=False, separators=(",", ":")))
    print("[\n" + ",\n".join(lines) + "\n]")


if __name__ == "__main__":
    main()
