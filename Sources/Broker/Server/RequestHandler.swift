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

/// A handler without its types: decodes a body and gives the work on it.
struct AnyRequestHandler: Sendable {
    let api: APIKey
    let versions: ClosedRange<Int16>
    let decode:
        @Sendable (inout ByteReader, RequestContext) throws(MalformedBytes) -> () async ->
            RequestOutcome

    init<H: RequestHandler>(_ handler: H) {
        api = H.Request.apiKey
        versions = H.versions
        precondition(
            H.Request.validVersions.lowerBound <= H.versions.lowerBound
                && H.versions.upperBound <= H.Request.validVersions.upperBound,
            "\(H.Request.apiKey) has versions \(H.Request.validVersions), not \(H.versions)"
        )
        decode = { (reader: inout ByteReader, context) throws(MalformedBytes) in
            let request = try H.Request(from: &reader, version: context.apiVersion)
            return {
                let response: H.Request.Response
                do throws(ConnectionEnd) {
                    guard let answer = try await handler.handle(request, context) else {
                        return .silence
                    }
                    response = answer
                } catch {
                    return .close(error.reason)
                }
                return ResponseFrame.encode(
                    response,
                    version: context.apiVersion,
                    headerVersion: H.Request.apiKey.responseHeaderVersion(for: context.apiVersion),
                    correlationID: context.correlationID
                )
            }
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

extension RoutedRequest {
    /// What a request of a version the broker does not have is answered.
    ///
    /// ApiVersions is answered in version 0, from which the client learns what to ask (KIP-511);
    /// every other API with the error code alone, which is where most responses have theirs.
    static func unsupportedVersion(
        _ handler: AnyRequestHandler,
        correlationID: Int32,
        clock: any Clock
    ) -> RoutedRequest {
        RoutedRequest(
            body: {
                if handler.api == .apiVersions {
                    return ApiVersionsHandler.unsupportedVersion(correlationID: correlationID)
                }
                var writer = ResponseFrame.begin(correlationID: correlationID, capacity: 16)
                writer.write(ErrorCode.unsupportedVersion.rawValue)
                return .response(writer.finishLengthPrefixed())
            },
            latency: nil,
            clock: clock
        )
    }
}
