from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NSFWScore(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NSFW_SCORE_UNSPECIFIED: _ClassVar[NSFWScore]
    NSFW_SCORE_PG: _ClassVar[NSFWScore]
    NSFW_SCORE_PG_13: _ClassVar[NSFWScore]
    NSFW_SCORE_R: _ClassVar[NSFWScore]
    NSFW_SCORE_X: _ClassVar[NSFWScore]
    NSFW_SCORE_XXX: _ClassVar[NSFWScore]
NSFW_SCORE_UNSPECIFIED: NSFWScore
NSFW_SCORE_PG: NSFWScore
NSFW_SCORE_PG_13: NSFWScore
NSFW_SCORE_R: NSFWScore
NSFW_SCORE_X: NSFWScore
NSFW_SCORE_XXX: NSFWScore

class TextEmbeddingRequest(_message.Message):
    __slots__ = ("request_id", "model_name", "text")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model_name: str
    text: str
    def __init__(self, request_id: _Optional[str] = ..., model_name: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class BatchTextEmbeddingRequest(_message.Message):
    __slots__ = ("request_id", "model_name", "texts")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model_name: str
    texts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, request_id: _Optional[str] = ..., model_name: _Optional[str] = ..., texts: _Optional[_Iterable[str]] = ...) -> None: ...

class TextEmbeddingResponse(_message.Message):
    __slots__ = ("request_id", "model_name", "text", "embedding_vectors", "inference_time_millis")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_VECTORS_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_TIME_MILLIS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model_name: str
    text: str
    embedding_vectors: _containers.RepeatedScalarFieldContainer[float]
    inference_time_millis: int
    def __init__(self, request_id: _Optional[str] = ..., model_name: _Optional[str] = ..., text: _Optional[str] = ..., embedding_vectors: _Optional[_Iterable[float]] = ..., inference_time_millis: _Optional[int] = ...) -> None: ...

class ImageEmbeddingRequest(_message.Message):
    __slots__ = ("request_id", "model_name", "image_uri")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    IMAGE_URI_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model_name: str
    image_uri: str
    def __init__(self, request_id: _Optional[str] = ..., model_name: _Optional[str] = ..., image_uri: _Optional[str] = ...) -> None: ...

class BatchImageEmbeddingRequest(_message.Message):
    __slots__ = ("request_id", "model_name", "image_uris")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    IMAGE_URIS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model_name: str
    image_uris: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, request_id: _Optional[str] = ..., model_name: _Optional[str] = ..., image_uris: _Optional[_Iterable[str]] = ...) -> None: ...

class ImageEmbeddingResponse(_message.Message):
    __slots__ = ("request_id", "embedding_vectors", "inference_time_millis")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_VECTORS_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_TIME_MILLIS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    embedding_vectors: _containers.RepeatedScalarFieldContainer[float]
    inference_time_millis: int
    def __init__(self, request_id: _Optional[str] = ..., embedding_vectors: _Optional[_Iterable[float]] = ..., inference_time_millis: _Optional[int] = ...) -> None: ...

class LoraParameters(_message.Message):
    __slots__ = ("name", "weight")
    NAME_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    name: str
    weight: float
    def __init__(self, name: _Optional[str] = ..., weight: _Optional[float] = ...) -> None: ...

class ImageGenerationParameters(_message.Message):
    __slots__ = ("prompt", "negative_prompt", "width", "height", "cfg_scale", "steps", "seed", "loras", "scheduler", "sampler")
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_PROMPT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    CFG_SCALE_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    LORAS_FIELD_NUMBER: _ClassVar[int]
    SCHEDULER_FIELD_NUMBER: _ClassVar[int]
    SAMPLER_FIELD_NUMBER: _ClassVar[int]
    prompt: str
    negative_prompt: str
    width: int
    height: int
    cfg_scale: int
    steps: int
    seed: int
    loras: _containers.RepeatedCompositeFieldContainer[LoraParameters]
    scheduler: str
    sampler: str
    def __init__(self, prompt: _Optional[str] = ..., negative_prompt: _Optional[str] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., cfg_scale: _Optional[int] = ..., steps: _Optional[int] = ..., seed: _Optional[int] = ..., loras: _Optional[_Iterable[_Union[LoraParameters, _Mapping]]] = ..., scheduler: _Optional[str] = ..., sampler: _Optional[str] = ...) -> None: ...

class ImageGenerationRequest(_message.Message):
    __slots__ = ("request_id", "model_name", "parameters")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model_name: str
    parameters: ImageGenerationParameters
    def __init__(self, request_id: _Optional[str] = ..., model_name: _Optional[str] = ..., parameters: _Optional[_Union[ImageGenerationParameters, _Mapping]] = ...) -> None: ...

class BatchImageGenerationRequest(_message.Message):
    __slots__ = ("request_id", "model_name", "batch_parameters")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    BATCH_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model_name: str
    batch_parameters: _containers.RepeatedCompositeFieldContainer[ImageGenerationParameters]
    def __init__(self, request_id: _Optional[str] = ..., model_name: _Optional[str] = ..., batch_parameters: _Optional[_Iterable[_Union[ImageGenerationParameters, _Mapping]]] = ...) -> None: ...

class ImageGenerationResponse(_message.Message):
    __slots__ = ("request_id", "model_name", "parameters", "image_uri", "inference_time_millis")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_URI_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_TIME_MILLIS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model_name: str
    parameters: ImageGenerationParameters
    image_uri: str
    inference_time_millis: int
    def __init__(self, request_id: _Optional[str] = ..., model_name: _Optional[str] = ..., parameters: _Optional[_Union[ImageGenerationParameters, _Mapping]] = ..., image_uri: _Optional[str] = ..., inference_time_millis: _Optional[int] = ...) -> None: ...

class ImageCaptionRequest(_message.Message):
    __slots__ = ("request_id", "model_name", "image_uri")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    IMAGE_URI_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model_name: str
    image_uri: str
    def __init__(self, request_id: _Optional[str] = ..., model_name: _Optional[str] = ..., image_uri: _Optional[str] = ...) -> None: ...

class BatchImageCaptionRequest(_message.Message):
    __slots__ = ("request_id", "model_name", "image_uris")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    IMAGE_URIS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model_name: str
    image_uris: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, request_id: _Optional[str] = ..., model_name: _Optional[str] = ..., image_uris: _Optional[_Iterable[str]] = ...) -> None: ...

class ImageCaptionResponse(_message.Message):
    __slots__ = ("request_id", "model_name", "image_uri", "description", "inference_time_millis")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    IMAGE_URI_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_TIME_MILLIS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model_name: str
    image_uri: str
    description: str
    inference_time_millis: int
    def __init__(self, request_id: _Optional[str] = ..., model_name: _Optional[str] = ..., image_uri: _Optional[str] = ..., description: _Optional[str] = ..., inference_time_millis: _Optional[int] = ...) -> None: ...

class ImageTitleRequest(_message.Message):
    __slots__ = ("request_id", "model_name", "image_uri")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    IMAGE_URI_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model_name: str
    image_uri: str
    def __init__(self, request_id: _Optional[str] = ..., model_name: _Optional[str] = ..., image_uri: _Optional[str] = ...) -> None: ...

class BatchImageTitleRequest(_message.Message):
    __slots__ = ("request_id", "model_name", "image_uris")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    IMAGE_URIS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model_name: str
    image_uris: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, request_id: _Optional[str] = ..., model_name: _Optional[str] = ..., image_uris: _Optional[_Iterable[str]] = ...) -> None: ...

class ImageTitleResponse(_message.Message):
    __slots__ = ("request_id", "model_name", "image_uri", "title", "inference_time_millis")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    IMAGE_URI_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_TIME_MILLIS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model_name: str
    image_uri: str
    title: str
    inference_time_millis: int
    def __init__(self, request_id: _Optional[str] = ..., model_name: _Optional[str] = ..., image_uri: _Optional[str] = ..., title: _Optional[str] = ..., inference_time_millis: _Optional[int] = ...) -> None: ...

class ImageTaggingRequest(_message.Message):
    __slots__ = ("request_id", "model_name", "image_uri")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    IMAGE_URI_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model_name: str
    image_uri: str
    def __init__(self, request_id: _Optional[str] = ..., model_name: _Optional[str] = ..., image_uri: _Optional[str] = ...) -> None: ...

class BatchImageTaggingRequest(_message.Message):
    __slots__ = ("request_id", "model_name", "image_uris")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    IMAGE_URIS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model_name: str
    image_uris: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, request_id: _Optional[str] = ..., model_name: _Optional[str] = ..., image_uris: _Optional[_Iterable[str]] = ...) -> None: ...

class ImageTaggingResponse(_message.Message):
    __slots__ = ("request_id", "model_name", "image_uri", "tags", "inference_time_millis")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    IMAGE_URI_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_TIME_MILLIS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model_name: str
    image_uri: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    inference_time_millis: int
    def __init__(self, request_id: _Optional[str] = ..., model_name: _Optional[str] = ..., image_uri: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ..., inference_time_millis: _Optional[int] = ...) -> None: ...

class ImageSafetyRequest(_message.Message):
    __slots__ = ("request_id", "model_name", "image_uri")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    IMAGE_URI_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model_name: str
    image_uri: str
    def __init__(self, request_id: _Optional[str] = ..., model_name: _Optional[str] = ..., image_uri: _Optional[str] = ...) -> None: ...

class BatchImageSafetyRequest(_message.Message):
    __slots__ = ("request_id", "model_name", "image_uris")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    IMAGE_URIS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model_name: str
    image_uris: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, request_id: _Optional[str] = ..., model_name: _Optional[str] = ..., image_uris: _Optional[_Iterable[str]] = ...) -> None: ...

class ImageSafetyResponse(_message.Message):
    __slots__ = ("request_id", "model_name", "image_uri", "nsfw_score", "inference_time_millis")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    IMAGE_URI_FIELD_NUMBER: _ClassVar[int]
    NSFW_SCORE_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_TIME_MILLIS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model_name: str
    image_uri: str
    nsfw_score: NSFWScore
    inference_time_millis: int
    def __init__(self, request_id: _Optional[str] = ..., model_name: _Optional[str] = ..., image_uri: _Optional[str] = ..., nsfw_score: _Optional[_Union[NSFWScore, str]] = ..., inference_time_millis: _Optional[int] = ...) -> None: ...

class PostTextRequest(_message.Message):
    __slots__ = ("request_id", "model_name", "image_uris")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    IMAGE_URIS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model_name: str
    image_uris: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, request_id: _Optional[str] = ..., model_name: _Optional[str] = ..., image_uris: _Optional[_Iterable[str]] = ...) -> None: ...

class PostTextResponse(_message.Message):
    __slots__ = ("request_id", "model_name", "image_uris", "post_text", "inference_time_millis")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    IMAGE_URIS_FIELD_NUMBER: _ClassVar[int]
    POST_TEXT_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_TIME_MILLIS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model_name: str
    image_uris: _containers.RepeatedScalarFieldContainer[str]
    post_text: str
    inference_time_millis: int
    def __init__(self, request_id: _Optional[str] = ..., model_name: _Optional[str] = ..., image_uris: _Optional[_Iterable[str]] = ..., post_text: _Optional[str] = ..., inference_time_millis: _Optional[int] = ...) -> None: ...
