"""Names of attributes, events and metrics. `gen_ai.*` follow OpenTelemetry's conventions, which still change.

They are those of the repository open-telemetry/semantic-conventions-genai, the only place where they are
kept since they left the general conventions. No other file has one of these names.
"""

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
CONVERSATION = "gen_ai.conversation.id"
STREAM = "gen_ai.request.stream"
FIRST_CHUNK_S = "gen_ai.response.time_to_first_chunk"
FINISH_REASONS = "gen_ai.response.finish_reasons"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS = "gen_ai.usage.cache_creation.input_tokens"
REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens"

EVALUATION = "gen_ai.evaluation.result"
EVALUATION_NAME = "gen_ai.evaluation.name"
EVALUATION_VALUE = "gen_ai.evaluation.score.value"

TOKEN_USAGE = "gen_ai.client.token.usage"  # noqa: S105
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105
DURATION = "gen_ai.client.operation.duration"
TO_FIRST_CHUNK = "gen_ai.client.operation.time_to_first_chunk"
PER_OUTPUT_CHUNK = "gen_ai.client.operation.time_per_output_chunk"

TOKEN_BOUNDS = tuple(4**power for power in range(14))
"""The bounds that the conventions state for numbers of tokens: 1 to 67,108,864."""
SECOND_BOUNDS = tuple(0.01 * 2**power for power in range(14))
"""The same for seconds: 0.01 to 81.92."""

SERVER = "server.address"
PORT = "server.port"
STATUS = "http.response.status_code"
ERROR = "error.type"

CANARY = "canary.name"
RUN = "canary.run"
PHASE = "canary.phase"
SHARE = "canary.share"
ARM = "canary.arm"
SERVED_BY = "canary.served_by"
REASON = "canary.reason"
OUTCOME = "canary.outcome"
ERROR_TYPE = "canary.error_type"
FAULTS = "canary.answer.faults"
OUTPUT_CHECK = "canary.answer.output_check"
PROVIDER_ERROR_CODE = "canary.provider_error.code"
PROVIDER_ERROR_TYPE = "canary.provider_error.type"
PROVIDER_ERROR_PARAM = "canary.provider_error.param"
PROVIDER_ERROR_MESSAGE = "canary.provider_error.message"
EXCHANGE = "canary.exchange_id"
REQUEST = "canary.request_id"
UNIT = "canary.unit"
SESSION = "canary.session"
CATEGORY = "canary.category"
TAG = "canary.tag."
MODEL_REQUESTED = "canary.model_requested"
CONFIGURED_PROVIDER = "canary.provider"
FIRST_TOKEN_S = "canary.time_to_first_token"  # noqa: S105
OVERHEAD_S = "canary.overhead"
COST_USD = "canary.cost_usd"
ESTIMATED = "canary.usage_estimated"
MIRROR = "canary.mirror"
RETRIES = "canary.retry_count"

ATTEMPT = "canary.attempt"
ATTEMPT_S = "canary.attempt.duration"

WELL_KNOWN_PROVIDERS = {"openai": "openai", "anthropic": "anthropic", "gemini": "gcp.gemini"}
"""OpenTelemetry's provider name by wire API: the API's owner, not always the operator of the endpoint."""
