"""One tree of errors, each with a stable code that logs, the audit and the agent's exit table may rely on."""

from typing import ClassVar


class CoreError(Exception):
    """A refusal with a stable ``code``, a plain sentence (``detail``) and, where one helps, a ``hint``."""

    codes: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, code: str, detail: str, hint: str = "") -> None:
        if code not in self.codes:
            msg = f"{type(self).__name__} has no code {code!r}"
            raise ValueError(msg)
        # All three in args: an exception must survive the trip between processes.
        super().__init__(code, detail, hint)
        self.code = code
        self.detail = detail
        self.hint = hint

    def __str__(self) -> str:
        return self.detail


class SignatureError(CoreError):
    """An Ed25519 signature that does not hold, or one made with another key than the expected one."""

    codes = frozenset({"signature_invalid", "signature_key"})


class EnvelopeError(CoreError):
    """A sealed update that cannot be made or must not be accepted."""

    codes = frozenset(
        {
            "envelope_truncated",
            "envelope_magic",
            "envelope_version",
            "envelope_suite",
            "envelope_type",
            "envelope_flags",
            "envelope_length",
            "envelope_field",
            "envelope_signer",
            "envelope_signature",
            "envelope_key",
            "envelope_unwrap",
            "envelope_exchange",
            "envelope_commitment",
            "envelope_payload",
        }
    )


class KeyFileError(CoreError):
    """A private key file that cannot be used as it is."""

    codes = frozenset({"key_exists", "key_missing", "key_permissions", "key_kind", "key_unreadable", "key_unwritable"})


class WeightsError(CoreError):
    """A safetensors file that is not exactly what its schema says."""

    codes = frozenset(
        {
            "weights_header",
            "weights_duplicate",
            "weights_names",
            "weights_dtype",
            "weights_shape",
            "weights_length",
            "weights_not_finite",
        }
    )


class CodecError(CoreError):
    """An unknown codec, or arrays that a codec cannot carry."""

    codes = frozenset({"unknown_codec", "codec_names", "codec_dtype", "codec_shape"})


class AggregationError(CoreError):
    """Contributions that cannot be combined."""

    codes = frozenset(
        {
            "unknown_rule",
            "no_contributions",
            "sender_order",
            "num_samples",
            "schema_mismatch",
            "not_finite",
            "momentum_range",
        }
    )


class ReportError(CoreError):
    """An agent's report that is not the strict form."""

    codes = frozenset({"report_json", "report_shape", "report_range"})


class PlanError(CoreError):
    """A plan or manifest that is not the strict form."""

    codes = frozenset({"plan_json", "plan_field", "plan_range", "plan_unknown_field"})


class ImageError(CoreError):
    """A scan that cannot be used."""

    codes = frozenset(
        {
            "image_unreadable",
            "image_too_large",
            "image_format",
            "image_mismatch",
            "image_empty",
            "image_frames",
            "image_colours",
        }
    )


class DicomError(ImageError):
    """A DICOM file that cannot be used; its texts never hold anything from the file's header."""

    codes = frozenset(
        {
            "dicom_damaged",
            "dicom_syntax",
            "dicom_no_pixels",
            "dicom_frames",
            "dicom_colour",
            "dicom_burned_in",
            "dicom_pixels",
            "dicom_length",
            "dicom_display",
            "dicom_undecodable",
        }
    )


class DatasetError(CoreError):
    """A folder or archive of scans that cannot be used."""

    codes = frozenset(
        {
            "dataset_missing",
            "dataset_unreadable",
            "no_classes",
            "unknown_class",
            "no_scans",
            "scan_unreadable",
            "unsafe_entry",
            "too_many_entries",
            "entry_too_large",
            "entry_encrypted",
            "entry_compression",
            "entry_nested",
            "duplicate_entry",
            "archive_too_large",
        }
    )


class BaseWeightsError(CoreError):
    """The frozen base's weights are missing or not the published ones."""

    codes = frozenset({"base_weights_missing", "base_weights_digest", "base_weights_unreadable"})


class ModelFileError(CoreError):
    """A Keras file that is not the expected architecture's weights in plain form."""

    codes = frozenset(
        {
            "model_unreadable",
            "model_link",
            "model_external",
            "model_missing",
            "model_dtype",
            "model_shape",
            "model_filter",
            "model_too_large",
            "model_not_finite",
            "model_archive",
            "model_too_costly",
            "model_unsafe",
            "base_changed",
            "unsupported_model",
        }
    )


class TrainingError(CoreError):
    """Training or evaluation that cannot start or cannot go on."""

    codes = frozenset({"no_samples", "training_shape", "training_labels", "training_not_finite", "training_stopped"})


class ArchitectureError(CoreError):
    """An architecture that is not in the registry."""

    codes = frozenset({"unknown_architecture"})
