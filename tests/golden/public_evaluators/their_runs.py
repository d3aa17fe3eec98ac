"""One function per public evaluator: run its own code on the masks and return its numbers and what it printed.

Networks are replaced by the masks: a "model" returns logits +-10 of the next mask. Where a function only prints, its
numbers are read from its variables as it returns.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch
from masks import Sample
from pycocotools import mask as coco
from their_code import Lines, load, locals_of, one_process, without_gpu
from torch import Tensor

Numbers = tuple[dict[str, float], str]


def _two_classes(mask: np.ndarray) -> Tensor:
    logits = torch.from_numpy(np.where(mask, 10.0, -10.0)).float()
    return torch.stack([-logits, logits])[None]


def _one_class(mask: np.ndarray) -> Tensor:
    return torch.from_numpy(np.where(mask, 10.0, -10.0)).float()[None, None]


def _precision(found: dict[str, Any], total: Any) -> dict[str, float]:
    levels = found["eval_seg_iou_list"]
    return {f"precision@{level}": found["seg_correct"][i] * 100.0 / total for i, level in enumerate(levels)}


def lavt(root: Path, samples: list[Sample]) -> Numbers:
    """Run test.py: evaluate."""
    test = load(root, "test.py", "bert bert.modeling_bert lib torchvision transforms")
    words = torch.zeros(1, 1, 3, 1)
    batches = [(torch.zeros(1), torch.from_numpy(each.target)[None].long(), words, words) for each in samples]
    answers = iter(samples)
    model = MagicMock(side_effect=lambda *_, **__: _two_classes(next(answers).predicted))
    found, printed = locals_of(test.evaluate, model, batches, None, torch.device("cpu"))
    overall = found["cum_I"] * 100.0 / found["cum_U"]
    return {
        "Mean IoU": found["mIoU"] * 100.0,
        **_precision(found, found["seg_total"]),
        "overall IoU": overall,
    }, printed


def _dmmi(root: Path, samples: list[Sample], dataset: str) -> Numbers:
    test = load(root, "test.py", "bert bert.modeling_bert data data.dataset data.dataset_zom lib transforms")
    test.args = argparse.Namespace(dataset=dataset)
    words = torch.zeros(1, 1, 3, 1)
    kinds = ["zero" if dataset == "ref-zom" and each.no_target else "one" for each in samples]
    batches = [
        (torch.zeros(1), torch.from_numpy(each.target)[None].long(), [kind], words, words, words)
        for each, kind in zip(samples, kinds, strict=True)
    ]
    answers = iter(samples)
    model = MagicMock(side_effect=lambda *_, **__: (None, None, _two_classes(next(answers).predicted)))
    bert = MagicMock(side_effect=lambda *_, **__: (torch.zeros(1, 3, 4),))
    found, printed = locals_of(test.evaluate, model, [(*batch[:4], words, words) for batch in batches], bert, "cpu")
    scores = {
        **_precision(found, found["seg_total"]),
        "overall IoU": found["cum_I"] * 100.0 / found["cum_U"],
        "mean IoU": found["mIoU"] * 100.0,
    }
    if dataset == "ref-zom":
        scores["Mean accuracy for one-to-zero sample"] = found["mean_acc"] * 100
    return scores, printed


def dmmi(root: Path, samples: list[Sample]) -> Numbers:
    """Run test.py: evaluate, as on RefCOCO."""
    return _dmmi(root, samples, "refcoco")


def ref_zom(root: Path, samples: list[Sample]) -> Numbers:
    """Run test.py: evaluate, as on Ref-ZOM."""
    return _dmmi(root, samples, "ref-zom")


def maskris(root: Path, samples: list[Sample]) -> Numbers:
    """Run eval.py: batch_evaluate, in batches of 8 as its main does; masks stand in the corner of one size."""
    without_gpu()
    code = load(root, "eval.py", "model transforms utils")
    zeros = torch.zeros
    # Their sums are arrays of one number, which NumPy no longer formats as a number: make them numbers.
    code.torch.zeros = lambda *size: zeros(()) if size == (1,) else zeros(*size)
    side = np.max([each.target.shape for each in samples], axis=0)

    def padded(mask: np.ndarray) -> Tensor:
        rest = [(0, int(whole - part)) for whole, part in zip(side, mask.shape, strict=True)]
        return torch.from_numpy(np.pad(mask, rest)).long()

    class Loader(list[Any]):
        dataset = samples

    batches, answers = Loader(), []
    for first in range(0, len(samples), 8):
        some = samples[first : first + 8]
        words = torch.zeros(len(some), 1, 3)
        batches.append((words, {"mask": torch.stack([padded(each.target) for each in some])}, words, words))
        answers.append(torch.stack([padded(each.predicted) for each in some])[:, None])
    code.utils.MetricLogger.return_value.log_every = lambda loader, *_: loader
    found, printed = locals_of(code.batch_evaluate, MagicMock(side_effect=answers), batches)
    return {
        "Mean IoU": (found["mIoU"] * 100.0).item(),
        **_precision(found, found["total_num"]),
        "overall IoU": (found["cum_I"] * 100.0 / found["cum_U"]).item(),
    }, printed


def cris(root: Path, samples: list[Sample]) -> Numbers:
    """Run engine/engine.py: inference."""
    without_gpu()
    lines = MagicMock()
    engine = load(root, "engine/engine.py", "cv2 wandb utils.dataset", loguru={"logger": lines})
    engine.time.sleep = lambda _: None
    engine.cv2.imread = lambda index, flags: samples[index].target * np.uint8(255)
    engine.cv2.warpAffine = lambda map_HW, *_, **__: map_HW[0, 0]
    engine.tokenize = lambda *_: torch.zeros(1)
    batches = []
    for index, each in enumerate(samples):
        size = {"ori_size": torch.tensor([each.target.shape]), "inverse": torch.zeros(1, 2, 3)}
        batches.append((torch.zeros(1, 3, *each.target.shape), {"mask_dir": [index], "sents": [("",)], **size}))
    answers = iter(samples)
    model = MagicMock(side_effect=lambda *_: _one_class(next(answers).predicted))
    mean, precision = engine.inference(batches, model, argparse.Namespace(visualize=False, word_len=17))
    scores = {"IoU": 100.0 * mean, **{name: 100.0 * value for name, value in precision.items()}}
    return scores, "\n".join(call.args[0] for call in lines.info.call_args_list)


def cgformer(root: Path, samples: list[Sample]) -> Numbers:
    """Run engine/engine.py: inference."""
    without_gpu()
    lines = MagicMock()
    engine = load(
        root, "engine/engine.py", "cv2 wandb timm timm.scheduler timm.scheduler.cosine_lr", loguru={"logger": lines}
    )
    engine.time.sleep = lambda _: None
    words = torch.zeros(1, 1, 3)
    batches = [
        (
            torch.zeros(1, *each.target.shape, 3),
            torch.zeros(1),
            [words],
            torch.from_numpy(each.target)[None],
            [words],
            None,
            [""],
        )
        for each in samples
    ]
    answers = iter(samples)
    model = MagicMock(side_effect=lambda *_: (_one_class(next(answers).predicted), None))
    found, _ = locals_of(engine.inference, batches, model, argparse.Namespace())
    scores = {"oIoU": 100.0 * (found["I"] / found["U"]), "mIoU": 100.0 * found["iou"].item()}
    scores |= {name: 100.0 * value for name, value in found["prec"].items()}
    return scores, "\n".join(call.args[0] for call in lines.info.call_args_list)


def rela(root: Path, samples: list[Sample]) -> Numbers:
    """Run gres_model/evaluation/refer_evaluation.py: ReferEvaluator; its head answers as the mask does."""
    code = load(
        root,
        "gres_model/evaluation/refer_evaluation.py",
        "detectron2 detectron2.utils detectron2.utils.comm detectron2.utils.file_io detectron2.evaluation",
        detectron2__evaluation__evaluator={"DatasetEvaluator": object},
    )
    evaluator = code.ReferEvaluator("set", distributed=False)
    lines = Lines()
    evaluator._logger.addHandler(lines)
    evaluator._logger.setLevel(logging.INFO)
    evaluator.reset()
    for each in samples:
        sentence = {"raw": ""}
        given = {"image_id": each.image_id, "source": "grefcoco", "sentence": sentence, "empty": each.no_target}
        answer = {"ref_seg": _two_classes(each.predicted)[0], "nt_label": _answer(each.says_no_target)}
        evaluator.process([{**given, "gt_mask_merged": torch.from_numpy(each.target)}], [answer])
    return dict(evaluator.evaluate()["grefcoco"]), lines.text


def _answer(yes: bool) -> Tensor:
    return torch.tensor([0.0, 1.0] if yes else [1.0, 0.0])


def _by_image(samples: list[Sample]) -> Iterator[list[Sample]]:
    for _, group in groupby(samples, key=lambda each: each.image_id):
        yield list(group)


def _stacked(group: list[Sample], field: str) -> Tensor:
    return torch.from_numpy(np.stack([getattr(each, field) for each in group]))


def _meters(module: Any, samples: list[Sample], extra: dict[str, Any], *args: Any) -> tuple[float, float]:
    batches, answers = [], []
    for group in _by_image(samples):
        batches.append({"images": torch.zeros(1), **extra})
        masks = torch.where(_stacked(group, "predicted"), 10.0, -10.0)
        answers.append({"pred_masks": [masks], "gt_masks": [_stacked(group, "target")]})
    model = MagicMock(side_effect=answers)
    loader = MagicMock()
    loader.__iter__.return_value = iter(batches)
    loader.dataset.ds = "refcoco"
    settings = argparse.Namespace(precision="fp32")
    with one_process():
        giou, ciou = module.validate(loader, model, *args, settings, *([MagicMock()] if args else []))
    return giou.item(), ciou.item()


def evf_sam(root: Path, samples: list[Sample]) -> Numbers:
    """Run eval.py: validate."""
    without_gpu()
    code = load(
        root,
        "eval.py",
        "cv2 transformers model model.evf_sam model.segment_anything model.segment_anything.utils "
        "model.segment_anything.utils.transforms utils.dataset",
    )
    giou, ciou = _meters(code, samples, {"images_evf": torch.zeros(1)})
    return {"giou": giou, "ciou": ciou}, f"giou{giou:.3f}_ciou{ciou:.3f}"


def gsva(root: Path, samples: list[Sample]) -> Numbers:
    """Run solver.py: validate, which scores RefCOCO."""
    without_gpu()
    code = load(root, "solver.py", "termcolor")
    giou, ciou = _meters(code, samples, {"images_clip": torch.zeros(1)}, 0)
    return {"giou": giou, "ciou": ciou}, f"giou: {giou:.4f}, ciou: {ciou:.4f}"


def gsva_gres(root: Path, samples: list[Sample]) -> Numbers:
    """Run solver.py: eval_gres, which scores gRefCOCO; a rejection token where the answer is no target."""
    without_gpu()
    code = load(root, "solver.py", "termcolor")
    batches, answers = [], []
    for group in _by_image(samples):
        batches.append({"images": torch.zeros(1), "images_clip": torch.zeros(1)})
        answers.append(
            {
                "pred_masks": [torch.where(_stacked(group, "predicted"), 10.0, -10.0)],
                "gt_masks": [_stacked(group, "target")],
                "output_ids": [torch.tensor([2 if each.says_no_target else 1 for each in group])],
            }
        )
    loader = MagicMock()
    loader.__iter__.return_value = iter(batches)
    loader.dataset.ds = "grefcoco"
    settings, logger = argparse.Namespace(precision="fp32", seg_token_idx=1, rej_token_idx=2), MagicMock()
    with one_process():
        found = code.eval_gres(loader, MagicMock(side_effect=answers), 0, settings, logger)
    names = ("giou", "ciou", "N_acc", "T_acc")
    scores = {name: float(value) for name, value in zip(names, found, strict=True)}
    return scores, logger.info.call_args.args[0]


def mmdet(root: Path, samples: list[Sample]) -> Numbers:
    """Run mmdet/evaluation/metrics/refseg_metric.py: RefSegMetric, a data sample per image, as its data set has."""

    class BaseMetric:
        def __init__(self) -> None:
            self.results: list[Any] = []

    registry = MagicMock()
    registry.register_module = lambda: lambda metric: metric
    code = load(
        root,
        "mmdet/evaluation/metrics/refseg_metric.py",
        mmengine__evaluator={"BaseMetric": BaseMetric},
        mmdet__registry={"METRICS": registry},
    )
    metric = code.RefSegMetric()
    for group in _by_image(samples):
        targets = MagicMock()
        targets.to_tensor.return_value = _stacked(group, "target")
        metric.process({}, [{"pred_instances": {"masks": _stacked(group, "predicted")}, "gt_masks": targets}])
    return {name: value.item() for name, value in metric.compute_metrics(metric.results).items()}, ""


def r_refcoco(root: Path, samples: list[Sample]) -> Numbers:
    """Run utils/validation.py: validate; absent objects are answered at twice the size, as its network's input is."""
    without_gpu()
    code = load(root, "utils/validation.py")
    batches = []
    for _, group in groupby(enumerate(samples), key=lambda each: each[1].ref_id):
        of_ref = list(group)
        target = next(each.target for _, each in of_ref if not each.no_target)
        exist = torch.tensor([[[float(not each.no_target) for _, each in of_ref]]])
        words = torch.tensor([[[[index for index, _ in of_ref]]]])
        batches.append((torch.zeros(1), torch.from_numpy(target)[None].long(), words, words, exist))

    def answer(_: Tensor, words: Tensor, __: Tensor) -> tuple[list[Tensor], float]:
        sample = samples[int(words.ravel()[0])]
        mask = np.kron(sample.predicted, np.ones((2, 2))) > 0 if sample.no_target else sample.predicted
        return [_two_classes(mask)], 1.0

    logger = MagicMock()
    settings = argparse.Namespace(eval_mode="each", use_exist=False, print_freq=10**9)
    model = MagicMock(side_effect=answer)
    found, _ = locals_of(code.validate, settings, logger, batches, model)
    scores = {name: found[name] for name in ("mIoU", "oIoU", "r", "rIoU")}
    for number, level in enumerate(found["seg_iou_list"]):
        scores[f"P@{level}"] = found["seg_correct"][number] * 100.0 / found["seg_total"]
    return scores, logger.info.call_args.args[0]


def big_vision(root: Path, samples: list[Sample]) -> Numbers:
    """Run Evaluator.run of its segmentation file; an empty mask is an answer without the tokens of a box and a mask.

    A box of the whole image and a decoded mask of its size stand for the 64 x 64 mask that is resized into its box.
    """
    code = load(
        root,
        "big_vision/evaluators/proj/paligemma/transfers/segmentation.py",
        "big_vision big_vision.evaluators big_vision.evaluators.common big_vision.pp big_vision.pp.tokenizer "
        "big_vision.utils flax flax.linen jax jax.numpy "
        "tensorflow tensorflow.io",
    )
    decoded, masks = [], []
    for each in samples:
        whole = np.array([0, 0, 1023, 1023, *range(16)], np.int32)
        decoded.append(whole if each.predicted.any() else whole[:3])
        masks.append(np.where(each.predicted, 1.0, -1.0).astype(np.float32)[..., None])
    batches = [
        {
            "_mask": np.array([True]),
            "objects/mask": np.array([each.target[..., None].astype(np.uint8)]),
            "objects/bbox": np.array([[0.0, 0.0, 1.0, 1.0]]),
            "number": index,
        }
        for index, each in enumerate(samples)
    ]
    evaluator = code.Evaluator.__new__(code.Evaluator)
    evaluator.get_data_iter, evaluator.steps = (lambda: iter(batches)), len(batches)
    evaluator.loc0, evaluator.seg0, evaluator.det_ious = np.array([0]), np.array([0]), (0.5, 0.75)
    now: list[int] = []

    def decode(_: Any, batch: dict[str, Any]) -> np.ndarray:
        now[:] = [batch["number"]]
        return decoded[batch["number"]][None]

    evaluator.decode = decode
    evaluator.reconstruct_masks = lambda _: masks[now[0]][None]
    code.jax.device_get = lambda value: value
    code.u.get_local_slice_from_fsarray = lambda value: value
    code.c.process_sum = lambda values: values

    class Image:
        def __init__(self, array: np.ndarray) -> None:
            self.array = array

        def resize(self, size: list[int], resample: int) -> np.ndarray:
            assert tuple(size) == self.array.shape[::-1]
            return self.array

    code.PIL.Image.fromarray = Image
    found = dict(evaluator.run(None))
    return {name: float(found[name]) for name in ("miou", "invalid", "total")}, ""


def sam3_cgf1(root: Path, samples: list[Sample]) -> Numbers:
    """Run sam3/eval/cgf1_eval.py: CGF1Evaluator; an image id per expression, at most one mask on either side."""
    code = load(root, "sam3/eval/cgf1_eval.py", "tqdm")

    def rle(mask: np.ndarray) -> dict[str, Any]:
        found = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
        return {"size": found["size"], "counts": found["counts"].decode()}

    images, truth, answers = [], [], []
    for index, each in enumerate(samples):
        height, width = each.target.shape
        images.append({"id": index, "height": height, "width": width, "is_instance_exhaustive": True})
        area = int(each.target.sum())
        shape = {"category_id": 1, "iscrowd": 0, "area": area, "bbox": [0, 0, width, height]}
        if area:
            truth.append({"id": len(truth) + 1, "image_id": index, "segmentation": rle(each.target), **shape})
        if each.predicted.any():
            mask = rle(each.predicted)
            answers.append({"image_id": index, "category_id": 1, "segmentation": mask, "score": each.confidence})
    code.tqdm = lambda values, **_: values
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("truth.json", "answers.json")]
        files[0].write_text(json.dumps({"images": images, "annotations": truth, "categories": [{"id": 1}]}))
        files[1].write_text(json.dumps(answers))
        evaluator = code.CGF1Evaluator(str(files[0]))
        return evaluator.evaluate(str(files[1])), ""


RUNS: dict[str, Callable[[Path, list[Sample]], Numbers]] = {
    run.__name__: run
    for run in (
        lavt,
        dmmi,
        ref_zom,
        cris,
        cgformer,
        maskris,
        mmdet,
        rela,
        gsva,
        gsva_gres,
        evf_sam,
        r_refcoco,
        big_vision,
        sam3_cgf1,
    )
}
"""Name of the evaluator in PUBLIC_EVALUATORS -> what runs its code."""
