"""MiraVeja's gRPC interface as its clients have it: written from the table of its fields."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tests.folders import session_folder

HEAD = ("string request_id", "string model_name")
TIME = "int64 inference_time_millis"
IMAGE = (*HEAD, "string image_uri")
IMAGES = (*HEAD, "repeated string image_uris")
PARAMETERS = (
    "string prompt",
    "string negative_prompt",
    "int32 width",
    "int32 height",
    "int32 cfg_scale",
    "int32 steps",
    "int32 seed",
    "repeated LoraParameters loras",
    "string scheduler",
    "string sampler",
)
DRAWN = (*HEAD, "ImageGenerationParameters parameters")
MESSAGES = {
    "LoraParameters": ("string name", "float weight"),
    "ImageGenerationParameters": PARAMETERS,
    "TextEmbeddingRequest": (*HEAD, "string text"),
    "TextEmbeddingResponse": (*HEAD, "string text", "repeated float embedding_vectors", TIME),
    "BatchTextEmbeddingRequest": (*HEAD, "repeated string texts"),
    "ImageEmbeddingRequest": IMAGE,
    "ImageEmbeddingResponse": (HEAD[0], "repeated float embedding_vectors", TIME),
    "ImageGenerationRequest": DRAWN,
    "ImageGenerationResponse": (*DRAWN, "string image_uri", TIME),
    "BatchImageGenerationRequest": (
        *HEAD,
        "repeated ImageGenerationParameters batch_parameters",
    ),
    "ImageCaptionRequest": IMAGE,
    "ImageCaptionResponse": (*IMAGE, "string description", TIME),
    "ImageTitleRequest": IMAGE,
    "ImageTitleResponse": (*IMAGE, "string title", TIME),
    "ImageTaggingRequest": IMAGE,
    "ImageTaggingResponse": (*IMAGE, "repeated string tags", TIME),
    "ImageSafetyRequest": IMAGE,
    "ImageSafetyResponse": (*IMAGE, "NSFWScore nsfw_score", TIME),
    "PostTextRequest": IMAGES,
    "PostTextResponse": (*IMAGES, "string post_text", TIME),
    **{
        f"BatchImage{name}Request": IMAGES
        for name in ("Embedding", "Caption", "Title", "Tagging", "Safety")
    },
}
SCORES = ("UNSPECIFIED", "PG", "PG_13", "R", "X", "XXX")
# Service: its message, and its unary, batch and streaming method.
SERVICES = {
    "TextEmbeddingsService": (
        "TextEmbedding",
        "GenerateTextEmbedding",
        "GenerateBatchTextEmbeddings",
        "GenerateTextEmbeddingStream",
    ),
    "ImageEmbeddingsService": (
        "ImageEmbedding",
        "GenerateImageEmbedding",
        "GenerateBatchImageEmbeddings",
        "GenerateImageEmbeddingStream",
    ),
    "ImageGenerationService": (
        "ImageGeneration",
        "GenerateImage",
        "GenerateBatchImages",
        "GenerateImageStream",
    ),
    "ImageCaptionService": (
        "ImageCaption",
        "GenerateDescriptionFromImage",
        "GenerateBatchDescriptionsFromImages",
        "GenerateImageCaptionsStream",
    ),
    "ImageTitleService": (
        "ImageTitle",
        "GenerateTitleFromImage",
        "GenerateBatchTitlesFromImages",
        "GenerateImageTitlesStream",
    ),
    "ImageTaggingService": (
        "ImageTagging",
        "GenerateTagsFromImage",
        "GenerateBatchTagsFromImages",
        "GenerateImageTagsStream",
    ),
    "ImageSafetyService": (
        "ImageSafety",
        "GenerateNSFWScoreFromImage",
        "GenerateBatchNSFWScoresFromImages",
        None,
    ),
    "PostTextService": ("PostText", "GeneratePostTextFromImages", None, None),
}


def proto() -> str:
    """The interface as a .proto file."""
    parts = ['syntax = "proto3";\npackage model.v1;']
    for name, fields in MESSAGES.items():
        numbered = (f"  {field} = {number};" for number, field in enumerate(fields, 1))
        parts.append("\n".join((f"message {name} {{", *numbered, "}")))
    scores = (f"  NSFW_SCORE_{score} = {number};" for number, score in enumerate(SCORES))
    parts.append("\n".join(("enum NSFWScore {", *scores, "}")))
    for service, (message, unary, batch, stream) in SERVICES.items():
        one, told = f"{message}Request", f"{message}Response"
        calls = [f"  rpc {unary}({one}) returns ({told});"]
        if batch:
            calls.append(f"  rpc {batch}(Batch{one}) returns (stream {told});")
        if stream:
            calls.append(f"  rpc {stream}(stream {one}) returns (stream {told});")
        parts.append("\n".join((f"service {service} {{", *calls, "}")))
    return "\n".join(parts) + "\n"


@cache
def compiled() -> Path:
    """A folder with the stubs that protoc makes of it, `model_pb2` and `model_pb2_grpc`."""
    from grpc_tools import protoc

    folder = session_folder("miraveja-")
    (folder / "model.proto").write_text(proto())
    well_known = str(resources.files("grpc_tools") / "_proto")
    kinds = [f"--{kind}={folder}" for kind in ("python_out", "grpc_python_out")]
    told = f"--descriptor_set_out={folder / 'descriptors'}"
    wanted = ["protoc", f"-I{folder}", f"-I{well_known}", *kinds, told, "model.proto"]
    assert protoc.main(wanted) == 0
    return folder


class Client:
    """Messages and calls of the interface, beside our own of the same names: in a pool apart."""

    def __init__(self) -> None:
        self.files = descriptor_pb2.FileDescriptorSet.FromString(
            (compiled() / "descriptors").read_bytes()
        )
        self._pool = descriptor_pool.DescriptorPool()
        for file in self.files.file:
            self._pool.Add(file)

    def __getattr__(self, name: str) -> Any:
        """A message by its name."""
        found = self._pool.FindMessageTypeByName(f"model.v1.{name}")
        return message_factory.GetMessageClass(found)

    def call(self, channel: Any, service: str, method: str) -> Any:
        """A method, as a stub has it."""
        found = self._pool.FindServiceByName(f"model.v1.{service}").methods_by_name[method]
        kinds = {
            (False, False): channel.unary_unary,
            (False, True): channel.unary_stream,
            (True, True): channel.stream_stream,
        }
        kind = kinds[found.client_streaming, found.server_streaming]
        return kind(
            f"/model.v1.{service}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(found.output_type).FromString,
        )
