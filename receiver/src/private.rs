//! The private listener: its routes, who may use them, and their description.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use creel_common::ids::LogId;
use creel_common::log::wire::{PROTOCOL, PROTOCOL_HEADER, PROTOCOLS, Refusal, RefusalKind};
use creel_common::log::{Operate, Record, Work};
use http::{HeaderValue, StatusCode};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::{Access, Guard, Tokens, guard};
use crate::facts::ReadFacts;
use crate::failure::Failure;
use crate::ingest::Ingest;
use crate::quarantine::calls;
use crate::reload::{self, Reload};
use crate::server::{Handler, Peer};
use crate::{health, lending, operate, source_doc};

/// Largest body of an operator's call.
const CALL_BYTES_MAX: usize = 1 << 20;
/// Largest settlement: 4,096 outcomes with what destinations answered.
const SETTLE_BYTES_MAX: usize = 64 << 20;
/// Any call must be answered within; beyond the longest long poll.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);

/// What the private listener works with.
#[derive(Clone)]
pub struct Api {
    /// The log, as workers call it.
    pub work: Arc<dyn Work>,
    /// The log, as people call it.
    pub operate: Arc<dyn Operate>,
    /// Keeps the record of what is done here and not by the log.
    pub record: Arc<dyn Record>,
    /// The log's name.
    pub log_id: LogId,
    /// How the log stands.
    pub facts: ReadFacts,
    /// The public side: sources, counters, clock.
    pub ingest: Arc<Ingest>,
    /// Known tokens.
    pub tokens: Tokens,
    /// Takes another configuration over.
    pub reload: Arc<Reload>,
    /// Told when the receiver stops.
    pub stop: CancellationToken,
    /// The program's version.
    pub version: Arc<str>,
    /// When the receiver started (monotonic).
    pub started: Duration,
}

/// Whose connection a request came on.
#[derive(Debug, Clone, Copy)]
pub struct CameFrom(pub SocketAddr);

#[derive(OpenApi)]
#[openapi(
    info(
        title = "creel: private listener",
        description = "For workers, operators and monitoring. Times are milliseconds since 1970 \
            (UTC). Every error has a body of the form `Refusal`; programs branch on its `kind`. \
            Requests may name the protocol's version in `creel-protocol`; one that is not spoken \
            is refused with 400."
    ),
    components(schemas(Refusal)),
    tags(
        (name = "work", description = "Lease, extend, settle; role `worker`"),
        (name = "deliveries", description = "Look at deliveries; role `read` or `operate`"),
        (name = "dead letters", description = "Look: `read` or `operate`; change: `operate`"),
        (
            name = "quarantine",
            description = "Requests that failed verification. Look: `read` or `operate`; change: `operate`"
        ),
        (name = "routes", description = "Look: `read` or `operate`; change: `operate`"),
        (name = "log", description = "The log as a whole"),
        (name = "health", description = "For load balancers and monitoring; no token")
    )
)]
struct Description;

/// The private service; cloning shares it.
#[derive(Clone)]
pub struct Private(Router);

/// The routes, and the document that describes exactly them.
fn described(tokens: &Tokens) -> OpenApiRouter<Api> {
    let guarded = |router: OpenApiRouter<Api>, access| {
        let tokens = tokens.clone();
        router
            .route_layer(from_fn(check_protocol))
            .route_layer(from_fn_with_state(Guard { tokens, access }, guard))
    };
    let work = OpenApiRouter::new()
        .routes(routes!(lending::lease))
        .routes(routes!(lending::extend))
        .routes(routes!(lending::settle))
        .layer(DefaultBodyLimit::max(SETTLE_BYTES_MAX));
    let any = OpenApiRouter::new().routes(routes!(operate::log));
    let read = OpenApiRouter::new()
        .routes(routes!(operate::find))
        .routes(routes!(operate::show))
        .routes(routes!(operate::body))
        .routes(routes!(operate::attempts))
        .routes(routes!(operate::dead))
        .routes(routes!(operate::routes))
        .routes(routes!(operate::audit))
        .routes(routes!(operate::backup))
        .routes(routes!(operate::sources))
        .routes(routes!(operate::seen))
        .routes(routes!(source_doc::call::doc))
        .routes(routes!(calls::list))
        .routes(routes!(calls::show));
    let change = OpenApiRouter::new()
        .routes(routes!(operate::reprocess))
        .routes(routes!(operate::discard))
        .routes(routes!(operate::pause))
        .routes(routes!(operate::resume))
        .routes(routes!(operate::rewind))
        .routes(routes!(operate::rename))
        .routes(routes!(operate::forget))
        .routes(routes!(operate::begin_backup))
        .routes(routes!(operate::expect_visit))
        .routes(routes!(calls::reverify))
        .routes(routes!(calls::promote))
        .routes(routes!(calls::discard))
        .routes(routes!(reload::reload))
        .layer(DefaultBodyLimit::max(CALL_BYTES_MAX));
    let open = OpenApiRouter::new()
        .routes(routes!(health::health))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics));
    OpenApiRouter::with_openapi(Description::openapi())
        .merge(guarded(work, Access::Work))
        .merge(guarded(any, Access::Any))
        .merge(guarded(read, Access::Read))
        .merge(guarded(change, Access::Operate))
        .merge(open)
}

/// The OpenAPI document of the private listener.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let (_, mut document) = described(&Tokens::default()).split_for_parts();
    let token = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    document
        .components
        .get_or_insert_default()
        .add_security_scheme("token", token);
    document
}

impl Private {
    /// The service over `api`.
    pub fn new(api: Api) -> Self {
        let document: Arc<str> = serde_json::to_string(&openapi()).unwrap_or_default().into();
        let (router, _) = described(&api.tokens).split_for_parts();
        let json = [(http::header::CONTENT_TYPE, "application/json")];
        let served = move || std::future::ready((json, document.to_string()));
        let router = router
            .route("/openapi.json", axum::routing::get(served))
            .route("/", axum::routing::get(root))
            .fallback(nothing_here)
            .method_not_allowed_fallback(wrong_method)
            .with_state(api);
        Self(router)
    }
}

impl Handler for Private {
    type Body = axum::body::Body;

    fn handle(
        self,
        request: http::Request<Incoming>,
        peer: Peer,
    ) -> impl Future<Output = Response> + Send + 'static {
        let router = self.0;
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(CameFrom(peer.address));
        let may_have_body = !http_body::Body::is_end_stream(request.body());
        async move {
            if peer.sent_doubtful_head() {
                peer.leaves_body_unread();
                let close = [(http::header::CONNECTION, "close")];
                return (StatusCode::BAD_REQUEST, close).into_response();
            }
            let answered = tokio::time::timeout(CALL_TIMEOUT, router.oneshot(request)).await;
            let response = match answered {
                Ok(Ok(response)) => response,
                Ok(Err(never)) => match never {},
                Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
            };
            if may_have_body && !response.status().is_success() {
                // a refusal may leave the body where it is
                peer.leaves_body_unread();
            }
            response
        }
    }
}

async fn root(State(api): State<Api>) -> String {
    format!(
        "creel {}: private listener. /health /ready /metrics /openapi.json /v1/…\n",
        api.version
    )
}

async fn nothing_here() -> Failure {
    Failure(Refusal::new(
        RefusalKind::NotFound,
        "no such path; see /openapi.json",
    ))
}

async fn wrong_method() -> Response {
    let refusal = Refusal::new(
        RefusalKind::Invalid,
        "not with this method; see /openapi.json",
    );
    (StatusCode::METHOD_NOT_ALLOWED, axum::Json(refusal)).into_response()
}

/// Refuses a version of the protocol that is not spoken here, and names those that are.
async fn check_protocol(request: Request, next: Next) -> Response {
    if let Some(asked) = request.headers().get(PROTOCOL_HEADER) {
        let asked = asked.to_str().unwrap_or_default();
        if !asked
            .parse()
            .is_ok_and(|version: u32| PROTOCOLS.contains(&version))
        {
            let spoken: Vec<String> = PROTOCOLS.iter().map(u32::to_string).collect();
            let what = format!(
                "creel-protocol `{}` is not spoken here; supported: {}",
                asked.escape_default().take(16).collect::<String>(),
                spoken.join(", ")
            );
            return Failure(Refusal::new(RefusalKind::Protocol, what)).into_response();
        }
    }
    let mut response = next.run(request).await;
    let version = HeaderValue::from(PROTOCOL);
    response.headers_mut().insert(PROTOCOL_HEADER, version);
    response
}
