import FuzzDriver
import KafkaMessages

@testable import Broker

/// Has every version of its API, and does nothing but check the request.
struct CheckingHandler<Request: KafkaRequest & Equatable>: RequestHandler {
    static var versions: ClosedRange<Int16> { Request.validVersions }

    func handle(_ request: Request, _ context: RequestContext) async -> Request.Response? {
        RoundTrip.check(request, version: context.apiVersion, decodedFrom: .max)
        return nil
    }
}
