# SPDX-License-Identifier: GPL-3.0-or-later
"""GGUF beyond its tensors' types: a text encoder with its vocabulary, and what unpacking takes."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import gguf
import numpy as np
import pytest
import sentencepiece
import torch

from tests.engine.models.layouts import (
    component,
    describe,
    open_part,
    random_blocks,
    renamed,
    text_name,
)
from wan_blender.core.errors import WeightsMissing
from wan_blender.engine.models.bundle import open_model
from wan_blender.engine.models.files import stored
from wan_blender.engine.models.files.gguf_files import read_gguf
from wan_blender.engine.models.files.weights import Weights
from wan_blender.engine.models.find import shelf
from wan_blender.engine.models.find.identify import identify

TEXTS = [
    "a red ball moves left", "  two   green\tstars ", "ﬁne ½ ㎏ ㍿ é", "никто 犬 🦊",
    "", "<extra_id_0> a [PAD480]", "left▁over",
]  # fmt: skip
VOCABULARY = 512  # rows of the embedding: more than there are pieces


def pieces(**options) -> bytes:
    """A SentencePiece model with what UMT5's has: T5's special tokens, bytes for what it does not
    know, NFKC and pieces of the user's."""
    model = io.BytesIO()
    text = ["a red ball moves left over a white wall", "an empty blue cloth", "two green stars"]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text * 20), model_writer=model, vocab_size=340, pad_id=0, eos_id=1,
        unk_id=2, bos_id=-1, hard_vocab_limit=False, user_defined_symbols=["<extra_id_0>"],
        **options,
    )  # fmt: skip
    return model.getvalue()


def messages(proto: bytes) -> dict[int, list]:
    """The fields of a protocol buffer, as far as one with texts, floats and numbers goes."""
    found, at = {}, 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte, at = proto[at], at + 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(proto):
        tag, form = divmod(varint(), 8)
        if form == 0:
            value = varint()
        else:
            size = varint() if form == 2 else {5: 4, 1: 8}[form]
            value, at = proto[at : at + size], at + size
        found.setdefault(tag, []).append(value)
    return found


def write_vocabulary(writer: gguf.GGUFWriter, proto: bytes) -> None:
    """As llama.cpp's converter does it for T5: filled up to the embedding's rows."""
    model = sentencepiece.SentencePieceProcessor(model_proto=proto)
    rules = messages(messages(proto)[3][0])
    tokens = [f"[PAD{i}]".encode() for i in range(VOCABULARY)]
    scores, types = [-10000.0] * VOCABULARY, [5] * VOCABULARY
    for i in range(len(model)):
        tokens[i], scores[i] = model.id_to_piece(i).encode(), model.get_score(i)
        types[i] = next(
            kind
            for kind, right in (
                (2, model.is_unknown(i)), (3, model.is_control(i)), (5, model.is_unused(i)),
                (6, model.is_byte(i)), (4, tokens[i] == b"<extra_id_0>"), (1, True),
            )
            if right
        )  # fmt: skip
    writer.add_tokenizer_model("t5")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_add_space_prefix(bool(rules.get(3, [1])[0]))
    writer.add_remove_extra_whitespaces(bool(rules.get(4, [1])[0]))
    if charsmap := rules.get(2, [b""])[0]:
        writer.add_precompiled_charsmap(charsmap)


def write_umt5(path: Path, state: dict, proto: bytes = b"", quant: str = "Q8_0") -> Path:
    kind = gguf.GGMLQuantizationType[quant]
    writer = gguf.GGUFWriter(path, "t5encoder")
    if proto:
        write_vocabulary(writer, proto)
    for name, tensor in renamed(state, lambda n: text_name(n, True)).items():
        if tensor.ndim == 2 and "attn_rel_b" not in name:
            data = random_blocks(tuple(tensor.shape), quant, np.random.default_rng(len(name)))
            writer.add_tensor(name, data, raw_dtype=kind)
        else:
            writer.add_tensor(name, tensor.float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def state(folders):
    state = component(folders["t2v"] / "text_encoder")
    return state | {"shared.weight": torch.zeros(VOCABULARY, state["shared.weight"].shape[1])}


@pytest.mark.parametrize(
    "options",
    [{"byte_fallback": True}, {"normalization_rule_name": "identity"},
     {"add_dummy_prefix": False, "remove_extra_whitespaces": False}],
    ids=["bytes", "as it is", "spaces"],
)  # fmt: skip
def test_tokenizer_of_a_gguf_splits_as_the_one_it_was_made_of(state, tmp_path, options):
    proto = pieces(**options)
    expected = sentencepiece.SentencePieceProcessor(model_proto=proto)
    made = read_gguf(write_umt5(tmp_path / "umt5.gguf", state, proto)).pieces()
    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=made)
    for text in TEXTS:
        assert tokenizer.encode(text) == expected.encode(text), text


def test_gguf_with_its_vocabulary_needs_no_tokenizer(folders, state, tmp_path):
    proto, folder = pieces(byte_fallback=True), folders["t2v"]
    write_umt5(tmp_path / "umt5.gguf", state, proto)
    assert identify(tmp_path / "umt5.gguf")[0].has_tokenizer
    made = describe(tmp_path, {
        "transformer": str(folder / "transformer"), "vae": str(folder / "vae"),
        "text_encoder": "umt5.gguf",
    })  # fmt: skip
    assert shelf.describe(str(made)).missing == ()
    tokens = open_model(made, "cpu").read_tokenizer()(["a red ball"], 8)
    count = len(ids := sentencepiece.SentencePieceProcessor(model_proto=proto).encode("a red ball"))
    assert tokens.input_ids[0, : count + 1].tolist() == [*ids, 1]


def test_gguf_without_a_vocabulary_carries_no_tokenizer(state, tmp_path):
    path = write_umt5(tmp_path / "umt5.gguf", state)
    assert not identify(path)[0].has_tokenizer
    assert open_part("text_encoder", path).weights.tokenizer() == b""


@pytest.mark.parametrize("spoil", ["scores", "unknown"])
def test_damaged_vocabulary_is_told(folders, tmp_path, state, spoil):
    writer = gguf.GGUFWriter(tmp_path / "umt5.gguf", "t5encoder")
    writer.add_tokenizer_model("t5")
    writer.add_token_list([b"a", b"b"])
    writer.add_token_scores([0.0] * (1 if spoil == "scores" else 2))
    writer.add_token_types([1, 1])
    for name, tensor in renamed(state, lambda n: text_name(n, True)).items():
        writer.add_tensor(name, tensor.float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    folder = folders["t2v"]
    made = describe(tmp_path, {
        "transformer": str(folder / "transformer"), "vae": str(folder / "vae"),
        "text_encoder": "umt5.gguf",
    })  # fmt: skip
    words = "2 pieces, 1 scores" if spoil == "scores" else "no piece for what is unknown"
    with pytest.raises(WeightsMissing, match=words):
        open_model(made, "cpu").read_tokenizer()


def test_vocabulary_is_passed_over_without_an_object_for_each_piece(tmp_path):
    count = 50_000
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "t5encoder")
    writer.add_tokenizer_model("t5")
    writer.add_token_list([f"piece{i}".encode() for i in range(count)])
    writer.add_token_scores([0.0] * count)
    writer.add_tensor("a", np.zeros((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    tracemalloc.start()
    try:
        assert read_gguf(tmp_path / "a.gguf").infos["a"].shape == (4, 4)
        assert tracemalloc.get_traced_memory()[1] < count
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", ["Q4_K", "Q6_K", "fp8"])
def test_matrix_is_unpacked_some_rows_at_a_time(monkeypatch, form):
    shape, rng = (50, 512), np.random.default_rng(0)
    if form == "fp8":
        packed = torch.from_numpy(rng.integers(0, 50, shape, dtype=np.int8))
        matrix = stored.Stored(packed, stored.Fp8(torch.float8_e4m3fn), torch.rand(50, 1))
        expected = packed.view(torch.float8_e4m3fn).float() * matrix.scale
    else:
        kind, data = gguf.GGMLQuantizationType[form], random_blocks(shape, form, rng)
        matrix = stored.Stored(torch.from_numpy(data.view(np.int8)), stored.Gguf(kind))
        expected = torch.from_numpy(gguf.dequantize(data, kind))
    whole, rows = type(matrix.form).unpack, []

    def unpack(self, packed, scale, dtype):
        rows.append(len(packed))
        return whole(self, packed, scale, dtype)

    monkeypatch.setattr(stored, "SLICE", 8 * shape[1])
    monkeypatch.setattr(type(matrix.form), "unpack", unpack)
    torch.testing.assert_close(matrix.unpack(torch.float32), expected, rtol=1e-6, atol=1e-9)
    assert rows == [8, 8, 8, 8, 8, 8, 2]
    assert matrix.unpack(torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
def test_plain_tensor_can_be_written_to(tmp_path, kind):
    """As LoRAs do to norms: in the file's read-only map that would end the process."""
    writer, quant = gguf.GGUFWriter(tmp_path / "a.gguf", "wan"), gguf.GGMLQuantizationType[kind]
    data = gguf.quantize(np.ones((4, 32), np.float32), quant)
    name = "vace_blocks.0.after_proj.weight"
    writer.add_tensor(name, data, raw_dtype=quant)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    weights = Weights([tmp_path / "a.gguf"], "vace")
    (read,) = (weights.read(known) for known in weights.infos)
    assert (read == 1).all()
    (file,) = weights._gguf.values()
    assert not np.shares_memory(read.view(torch.int8).numpy(), file.tensors[name].data)


def test_embedding_under_two_names_is_unpacked_once(state, tmp_path):
    part = open_part("text_encoder", write_umt5(tmp_path / "a.gguf", state), torch.bfloat16)
    real, names = part.weights.read, []
    part.weights.read = lambda name: names.append(name) or real(name)
    model = part.model
    assert names.count("shared.weight") == 1
    assert model.encoder.embed_tokens.weight is model.shared.weight
