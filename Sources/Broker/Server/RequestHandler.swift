import Bytes
import KafkaMessages
import KafkaProtocol
import Platform

/// The work of one API; one file each under `Handlers/`.
protocol RequestHandler: Sendable {
    associatedtype Request: KafkaRequest
    /// The versions that work, which is what ApiVersions advertises.
    static var versions: ClosedRange<Int16> { get }
    /// `nil` when nothing is to be answered.
    ///
    /// - Throws: ``ConnectionEnd`` when the peer can be told of a failure in no other way.
    func handle(
        _ request: Request,
        _ context: RequestContext
    ) async throws(ConnectionEnd) -> Request.Response?
}

/// The work of an API that is asked for so often that a task for each request would be felt.
protocol CallbackHandler: Sendable {
    associatedtype Request: KafkaRequest
    /// The versions that work, which is what ApiVersions advertises.
    static var versions: ClosedRange<Int16> { get }
    /// Gives its answer once, on the connection's loop, on which it is called; maybe at once.
    func begin(_ request: Request, _ context: RequestContext, _ answer: Answer<Request>)
}

/// Why a connection is to be closed in place of an answer.
struct ConnectionEnd: Error {
    let reason: String
}

/// Who sent a request, and how.
struct RequestContext: Sendable {
    let client: ClientConnection
    let clientID: String
    let apiVersion: Int16
    let correlationID: Int32
}

/// A handler without its types: decodes a body and begins the work on it.
struct AnyRequestHandler: Sendable {
    let api: APIKey
    let versions: ClosedRange<Int16>
    /// Runs to the request's ordering point, on the connection's loop.
    let begin:
        @Sendable (inout ByteReader, RequestContext, PendingResponse) throws(MalformedBytes) -> Void

    init<H: RequestHandler>(_ handler: H) {
        self.init(H.versions) { (request: H.Request, context, answer) in
            Task.immediate(executorPreference: context.client.loop) {
                do throws(ConnectionEnd) {
                    answer.give(try await handler.handle(request, context))
                } catch {
                    answer.close(error)
                }
            }
        }
    }

    init<H: CallbackHandler>(_ handler: H) {
        self.init(H.versions, handler.begin)
    }

    private init<R: KafkaRequest>(
        _ versions: ClosedRange<Int16>,
        _ begin: @escaping @Sendable (R, RequestContext, Answer<R>) -> Void
    ) {
        api = R.apiKey
        self.versions = versions
        precondition(
            R.validVersions.lowerBound <= versions.lowerBound
                && versions.upperBound <= R.validVersions.upperBound,
            "\(R.apiKey) has versions \(R.validVersions), not \(versions)"
        )
        self.begin = { (reader: inout ByteReader, context, pending) throws(MalformedBytes) in
            let answer = Answer<R>(
                pending: pending,
                version: context.apiVersion,
                correlationID: context.correlationID
            )
            begin(try R(from: &reader, version: context.apiVersion), context, answer)
        }
    }
}

/// The bytes of a response: length, header, body.
enum ResponseFrame {
    static func encode<M: KafkaMessage>(
        _ message: M,
        version: Int16,
        headerVersion: Int16,
        correlationID: Int32
    ) -> RequestOutcome {
        var writer = begin(correlationID: correlationID, capacity: 256)
        // Response header v1 ends in an empty set of tagged fields.
        if headerVersion >= 1 { writer.writeUnsignedVarint(0) }
        do {
            try message.encode(into: &writer, version: version)
        } catch {
            return .close("\(M.name) v\(version) cannot be encoded: \(error)")
        }
        return .response(writer.finishLengthPrefixed())
    }

    /// A frame up to its header, to be ended by `finishLengthPrefixed`.
    static func begin(correlationID: Int32, capacity: Int) -> ByteWriter {
        var writer = ByteWriter(capacity: capacity)
        writer.write(Int32(0))
        writer.write(correlationID)
        return writer
    }
}

extension ResponseFrame {
    /// What a request of a version the broker does not have is answered.
    ///
    /// ApiVersions is answered in version 0, from which the client learns what to ask (KIP-511);
    /// every other API with the error code alone, which is where most responses have theirs.
    static func unsupportedVersion(of api: APIKey, correlationID: Int32) -> RequestOutcome {
        if api == .apiVersions {
            return ApiVersionsHandler.unsupportedVersion(correlationID: correlationID)
        }
        var writer = begin(correlationID: correlationID, capacity: 16)
        writer.write(ErrorCode.unsupportedVersion.rawValue)
        return .response(writer.finishLengthPrefixed())
    }
}
