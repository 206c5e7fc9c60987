"""Architectures with random weights: name -> (module, example inputs), none of them downloaded.

A name is `timm:NAME`, `torchvision:NAME`, `transformers:NAME`, `text:NAME` or
`module:NAME` (modules.py); small variants, and few layers where a config gives the
number of them.
"""

from __future__ import annotations

import torch
from torch import nn

from modules import MODULES

TINY = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, vocab_size=199)

# name -> options of create_model that make it small
TIMM = {
    **{
        name: {}
        for name in (
            "resnet10t resnext26ts regnety_002 regnetz_005 densenet121 inception_v3 mobilenetv1_100 "
            "mobilenetv2_050 mobilenetv3_small_050 mobilenetv4_conv_small_050 efficientnet_lite0 "
            "tf_efficientnetv2_b0 ghostnet_050 mnasnet_small repvgg_a0 convnext_atto convnextv2_atto "
            "deit_tiny_distilled_patch16_224 maxvit_rmlp_pico_rw_256 mobilevit_xxs mobilevitv2_050 levit_128s "
            "poolformer_s12 poolformerv2_s12 mixer_s32_224 resmlp_12_224 gmlp_ti16_224 edgenext_xx_small "
            "efficientformer_l1 efficientformerv2_s0 fastvit_t8 xcit_nano_12_p16_224 crossvit_tiny_240 "
            "coat_lite_tiny pit_ti_224 pvt_v2_b0 tiny_vit_5m_224 repvit_m0_9 inception_next_atto caformer_s18 "
            "visformer_tiny nf_regnet_b0 botnet26t_256 halonet26t lambda_resnet26t dla34 hrnet_w18_small "
            "res2net50_14w_8s skresnet18 ecaresnet26t hiera_tiny_224 eva02_tiny_patch14_224 starnet_s1 "
            "mambaout_femto resnetv2_50x1_bit sequencer2d_s convmixer_768_32 tresnet_m twins_svt_small"
        ).split()
    },
    "vit_tiny_patch16_224": dict(depth=3),
    "vit_relpos_small_patch16_224": dict(depth=3),
    "vit_small_patch16_rope_224": dict(depth=3),
    "beit_base_patch16_224": dict(depth=2, embed_dim=96, num_heads=4),
    "beitv2_base_patch16_224": dict(depth=2, embed_dim=96, num_heads=4),
    "cait_xxs24_224": dict(depth=3),
    "swin_tiny_patch4_window7_224": dict(depths=(1, 2, 2, 1), embed_dim=48),
    "swinv2_tiny_window8_256": dict(depths=(1, 2, 2, 1), embed_dim=48),
    "swinv2_cr_tiny_224": dict(depths=(1, 2, 2, 1), embed_dim=48),
    "davit_tiny": dict(depths=(1, 1, 1, 1), embed_dims=(32, 64, 96, 128), num_heads=(1, 2, 3, 4)),
    "focalnet_tiny_srf": dict(depths=(1, 1, 1, 1), embed_dim=48),
    "volo_d1_224": dict(layers=(1, 1, 1, 1)),
    "nest_tiny": dict(depths=(1, 1, 2)),
}

TORCHVISION = {
    "resnet18": {},
    "googlenet": dict(aux_logits=False, init_weights=False),
    "shufflenet_v2_x0_5": {},
    **{
        name: {}
        for name in (
            "alexnet vgg11_bn squeezenet1_0 squeezenet1_1 mobilenet_v2 mobilenet_v3_small mnasnet0_5 efficientnet_b0 "
            "efficientnet_v2_s regnet_y_400mf regnet_x_400mf densenet121 convnext_tiny vit_b_32 swin_t maxvit_t "
            "resnext50_32x4d wide_resnet50_2 inception_v3"
        ).split()
    },
    "inception_aux": dict(name="inception_v3", init_weights=False),
    "googlenet_aux": dict(name="googlenet", init_weights=False),
    "swin_v2_t": {},
    "deeplabv3_mobilenet_v3_large": dict(weights_backbone=None, aux_loss=False),
    "lraspp_mobilenet_v3_large": dict(weights_backbone=None),
}


class Only(nn.Module):
    """A module whose first output (or the one of a name) is the result."""

    def __init__(self, module: nn.Module, pick=None, **fixed):
        super().__init__()
        self.module, self.pick, self.fixed = module, pick, fixed

    def forward(self, *inputs):
        result = self.module(*inputs, **self.fixed)
        return result[self.pick] if self.pick else result[0]


class WithAuxiliary(nn.Module):
    """A module of which training gives the auxiliary logits too."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def eval(self):
        for part in self.modules():
            part.training = isinstance(part, type(self.module))
        return self

    def forward(self, x):
        return tuple(self.module(x))


class TextClassifier(nn.Module):
    """Embedding, recurrent layers over them, a classifier on the last state."""

    def __init__(self, cell, bidirectional: bool, layers: int):
        super().__init__()
        self.embedding = nn.Embedding(199, 32)
        self.rnn = cell(32, 24, num_layers=layers, bidirectional=bidirectional, batch_first=True)
        self.head = nn.Linear(24 * (2 if bidirectional else 1), 5)

    def forward(self, ids):
        out, _ = self.rnn(self.embedding(ids))
        return self.head(out[:, -1])


class WeightNormed(nn.Module):
    """Weight and spectral normalization, a tied decoder, a learned scale and a mask of positions."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(51, 16)
        self.linear = nn.utils.parametrizations.weight_norm(nn.Linear(16, 16))
        self.scale = nn.Parameter(torch.tensor(0.7))
        self.register_buffer("mask", torch.tril(torch.ones(12, 12)))

    def forward(self, ids):
        x = self.embedding(ids)
        scores = (x @ x.transpose(1, 2) * self.scale.exp()).masked_fill(self.mask == 0, float("-inf"))
        x = torch.relu(self.linear(scores.softmax(-1) @ x))
        return x @ self.embedding.weight.t()


TEXT = {
    "lstm": lambda: TextClassifier(nn.LSTM, False, 1),
    "bilstm2": lambda: TextClassifier(nn.LSTM, True, 2),
    "gru": lambda: TextClassifier(nn.GRU, True, 1),
    "rnn": lambda: TextClassifier(nn.RNN, False, 2),
    "tied": WeightNormed,
}


def bert_like(name: str, **more):
    import transformers as t

    config = getattr(t, f"{name}Config")(**{**TINY, **more})
    return getattr(t, f"{name}ForSequenceClassification")(config)


def language_model(name: str, head: str, **config):
    import transformers as t

    return getattr(t, f"{name}{head}")(getattr(t, f"{name}Config")(**config))


IDS = lambda: (torch.randint(5, 150, (2, 12)),)
GPT = dict(n_embd=64, n_layer=2, n_head=4, vocab_size=199, n_positions=64, use_cache=False)
T5 = dict(d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, vocab_size=199)
PIXELS = lambda size: lambda: (torch.randn(2, 3, size, size),)
VISION = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128)


def clip():
    import transformers as t

    vision = dict(**VISION, image_size=32, patch_size=8)
    text = dict(**TINY, max_position_embeddings=16, eos_token_id=2, pad_token_id=1, bos_token_id=0)
    return t.CLIPModel(t.CLIPConfig(text_config=text, vision_config=vision, projection_dim=32))


# name -> (module, inputs)
TRANSFORMERS = {
    "bert": (lambda: Only(bert_like("Bert")), IDS),
    "distilbert": (
        lambda: Only(language_model("DistilBert", "ForSequenceClassification", dim=64, n_layers=2, n_heads=4, hidden_dim=128, vocab_size=199)),
        IDS,
    ),
    "roberta": (lambda: Only(bert_like("Roberta")), IDS),
    "electra": (lambda: Only(bert_like("Electra", embedding_size=32)), IDS),
    "albert": (lambda: Only(bert_like("Albert", embedding_size=32)), IDS),
    "mpnet": (lambda: Only(bert_like("MPNet")), IDS),
    "deberta": (
        lambda: Only(bert_like("DebertaV2", relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=8, max_relative_positions=-1)),
        IDS,
    ),
    "mobilebert": (
        lambda: Only(bert_like("MobileBert", embedding_size=32, intra_bottleneck_size=32, true_hidden_size=32)),
        IDS,
    ),
    "bert-mlm": (lambda: Only(language_model("Bert", "ForMaskedLM", **TINY)), IDS),
    "gpt2": (lambda: Only(language_model("GPT2", "LMHeadModel", **GPT)), IDS),
    "llama": (
        lambda: Only(language_model("Llama", "ForCausalLM", **TINY, num_key_value_heads=2, use_cache=False)),
        IDS,
    ),
    "t5-encoder": (lambda: Only(language_model("T5", "EncoderModel", **T5)), IDS),
    "whisper-encoder": (
        lambda: Only(
            language_model("Whisper", "Model", d_model=64, encoder_layers=2, decoder_layers=1, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=128, decoder_ffn_dim=128, vocab_size=199, num_mel_bins=16, max_source_positions=50, pad_token_id=1, bos_token_id=1, eos_token_id=1, decoder_start_token_id=1).encoder
        ),
        lambda: (torch.randn(2, 16, 100),),
    ),
    "wav2vec2": (
        lambda: Only(
            language_model("Wav2Vec2", "ForSequenceClassification", **TINY, conv_dim=(32, 32), conv_stride=(5, 2), conv_kernel=(10, 3), num_feat_extract_layers=2, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4)
        ),
        lambda: (torch.randn(2, 800),),
    ),
    "clip": (
        lambda: Only(clip(), "logits_per_image"),
        lambda: (torch.randint(5, 150, (2, 12)), torch.randn(2, 3, 32, 32)),
    ),
    "bloom": (lambda: Only(language_model("Bloom", "ForCausalLM", hidden_size=64, n_layer=2, n_head=4, vocab_size=199, use_cache=False)), IDS),
    "mpt": (lambda: Only(language_model("Mpt", "ForCausalLM", d_model=64, n_layers=2, n_heads=4, vocab_size=199, use_cache=False, expansion_ratio=2)), IDS),
    "falcon": (
        lambda: Only(language_model("Falcon", "ForCausalLM", hidden_size=96, num_hidden_layers=2, num_attention_heads=6, vocab_size=199, alibi=True, use_cache=False, new_decoder_architecture=False)),
        IDS,
    ),
    "gpt-neox": (lambda: Only(language_model("GPTNeoX", "ForCausalLM", **TINY, use_cache=False)), IDS),
    "roformer": (lambda: Only(bert_like("RoFormer", embedding_size=32, max_position_embeddings=64)), IDS),
    "xlnet": (
        lambda: Only(language_model("XLNet", "ForSequenceClassification", d_model=64, n_layer=2, n_head=4, d_inner=128, vocab_size=199)),
        IDS,
    ),
    "mamba": (lambda: Only(language_model("Mamba", "ForCausalLM", hidden_size=32, num_hidden_layers=1, vocab_size=199, state_size=4, use_cache=False)), lambda: (torch.randint(5, 150, (2, 6)),)),
    "opt": (
        lambda: Only(language_model("OPT", "ForCausalLM", hidden_size=64, num_hidden_layers=2, num_attention_heads=4, ffn_dim=128, vocab_size=199, max_position_embeddings=32, word_embed_proj_dim=32, use_cache=False)),
        IDS,
    ),
    "hubert": (
        lambda: Only(
            language_model("Hubert", "ForSequenceClassification", **TINY, conv_dim=(32, 32), conv_stride=(5, 2), conv_kernel=(10, 3), num_feat_extract_layers=2, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4)
        ),
        lambda: (torch.randn(2, 800),),
    ),
    "beit-hf": (
        lambda: Only(language_model("Beit", "ForImageClassification", **VISION, image_size=32, patch_size=8, use_relative_position_bias=True, num_labels=7)),
        PIXELS(32),
    ),
    "swinv2-hf": (
        lambda: Only(language_model("Swinv2", "ForImageClassification", embed_dim=24, depths=[2, 2], num_heads=[2, 4], image_size=32, patch_size=4, window_size=4, num_labels=7)),
        PIXELS(32),
    ),
    "segformer": (
        lambda: Only(language_model("Segformer", "ForSemanticSegmentation", hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 1, 1], decoder_hidden_size=32, num_labels=7)),
        PIXELS(64),
    ),
    "dinov2": (
        lambda: Only(language_model("Dinov2", "ForImageClassification", hidden_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=56, patch_size=14)),
        PIXELS(56),
    ),
    "vit-hf": (lambda: Only(language_model("ViT", "ForImageClassification", **VISION, image_size=32, patch_size=8)), PIXELS(32)),
    "convbert": (lambda: Only(bert_like("ConvBert", embedding_size=32)), IDS),
}


def names() -> list[str]:
    groups = {"timm": TIMM, "torchvision": TORCHVISION, "transformers": TRANSFORMERS, "text": TEXT, "module": MODULES}
    return [f"{group}:{name}" for group, entries in groups.items() for name in entries]


def build(name: str, fused: bool) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """The module and its inputs; `fused`: with scaled_dot_product_attention, which opset 13 has no form for."""
    group, _, short = name.partition(":")
    if group == "timm":
        import timm

        timm.layers.set_fused_attn(fused)
        options = TIMM.get(short, {})
        module = timm.create_model(short, num_classes=10, **options)
        size = module.pretrained_cfg["input_size"] if hasattr(module, "pretrained_cfg") else (3, 224, 224)
        return module, (torch.randn(2, *size),)
    if group == "torchvision":
        import torchvision

        options = dict(TORCHVISION.get(short, {}))
        module = torchvision.models.get_model(options.pop("name", short), weights=None, num_classes=10, **options)
        if short.endswith("_aux"):
            return WithAuxiliary(module), (torch.randn(2, 3, 299, 299),)
        segments = short.startswith(("deeplab", "lraspp", "fcn"))
        return (Only(module, "out") if segments else module), (torch.randn(2, 3, *(64, 64) if segments else (224, 224)),)
    if group == "transformers":
        module, inputs = TRANSFORMERS[short]
        module = module()
        for part in module.modules():
            if hasattr(part, "config") and hasattr(part.config, "_attn_implementation"):
                part.config._attn_implementation = "sdpa" if fused else "eager"
        return module, inputs()
    if group == "module":
        module, inputs = MODULES[short]
        return module(), inputs()
    if group == "text":
        return TEXT[short](), (torch.randint(5, 50, (2, 12)),)
    raise SystemExit(f"{name}: expected timm:, torchvision:, transformers:, text: or module:")
