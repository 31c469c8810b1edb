"""Token ids and vectors of the reference (Hugging Face tokenizers, fp32 weights in numpy) for the golden test; see README.md.

    python reference.py model.safetensors > golden.json
"""

import json
import math
import pathlib
import sys

import numpy
from safetensors.numpy import load_file
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
    "The notice period is two months to the end of a quarter, unless the contract says otherwise.",
    "Employees may carry over up to five days of leave into the following year, to be used by the end of March.",
    "fn main() { let total: u64 = values.iter().sum(); println!(\"{total}\"); }",
    "SELECT name, count(*) FROM visits WHERE day >= '2026-01-01' GROUP BY name HAVING count(*) > 10;",
    "Water boils at 100 °C at sea level, and at about 93 °C two kilometres higher.",
    "Photosynthesis turns carbon dioxide and water into glucose and oxygen with the energy of light.",
    "The defendant shall bear the costs of the proceedings, including those of the first instance.",
    "Take one tablet twice a day with food; do not drive if you feel dizzy.",
    "What is the difference between a lease and a licence?",
    "error[E0502]: cannot borrow `x` as mutable because it is also borrowed as immutable",
    "No.",
    "2 + 2 = 4",
    "Our refund policy allows returns within thirty days, provided that the item is unused and in its original "
    "packaging; shipping costs are not refunded.",
    "Breaking: central bank raises rates by a quarter point, citing persistent inflation in services.",
    "| item | price |\n|---|---|\n| apples | 1.20 |\n| pears | 1.45 |",
    "To be, or not to be, that is the question: Whether 'tis nobler in the mind to suffer the slings and arrows of "
    "outrageous fortune, or to take arms against a sea of troubles and by opposing end them.",
    "HTTP/1.1 429 Too Many Requests, Retry-After: 30",
    "the the the the the the the the",
]
MAX_TOKENS = 256
HEADS = 12


def erf(x):
    return numpy.vectorize(math.erf, otypes=[numpy.float32])(x)


def main() -> None:
    weights = load_file(sys.argv[1])
    tokenizer = BertWordPieceTokenizer(str(HERE / "vocab.txt"), lowercase=True)

    def linear(x, name):
        return x @ weights[name + ".weight"].T + weights[name + ".bias"]

    def norm(x, name):
        x = x - x.mean(-1, keepdims=True)
        x = x / numpy.sqrt((x * x).mean(-1, keepdims=True) + 1e-12)
        return x * weights[name + ".weight"] + weights[name + ".bias"]

    def heads(x):
        return x.reshape(len(x), HEADS, -1).transpose(1, 0, 2)

    def vector(ids):
        table = "embeddings.{}_embeddings.weight".format
        x = weights[table("word")][ids] + weights[table("position")][: len(ids)] + weights[table("token_type")][0]
        x = norm(x, "embeddings.LayerNorm")
        for layer in range(6):
            at = f"encoder.layer.{layer}."
            q, k, v = (heads(linear(x, at + "attention.self." + part)) for part in ("query", "key", "value"))
            scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])
            scores = numpy.exp(scores - scores.max(-1, keepdims=True))
            scores /= scores.sum(-1, keepdims=True)
            context = (scores @ v).transpose(1, 0, 2).reshape(len(ids), -1)
            x = norm(x + linear(context, at + "attention.output.dense"), at + "attention.output.LayerNorm")
            inner = linear(x, at + "intermediate.dense")
            inner = inner * 0.5 * (1 + erf(inner / math.sqrt(2)))
            x = norm(x + linear(inner, at + "output.dense"), at + "output.LayerNorm")
        mean = x.mean(axis=0)
        return mean / numpy.linalg.norm(mean)

    lines = []
    for text in SENTENCES:
        # Special markers in a text are plain words to us: a caller must not be able to write control tokens.
        plain = tokenizer._tokenizer.normalizer.normalize_str(text)
        words = [word for word, _ in tokenizer._tokenizer.pre_tokenizer.pre_tokenize_str(plain)]
        pieces = [piece.id for word in words for piece in tokenizer._tokenizer.model.tokenize(word)]
        ids = [101, *pieces[: MAX_TOKENS - 2], 102]
        rounded = [round(float(value), 4) for value in vector(ids)]
        lines.append(json.dumps({"text": text, "ids": ids, "vector": rounded}, ensure_ascii=False, separators=(",", ":")))
    print("[\n" + ",\n".join(lines) + "\n]")


if __name__ == "__main__":
    main()
