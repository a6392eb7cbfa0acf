import Foundation
import Platform
import Synchronization
import Testing

@Suite struct CoverageMarkTests {
    @Test func `who watches marks hears of those of its own thread`() {
        let heard = Mutex<[UInt64]>([])
        CoverageMark.startCounting()
        CoverageMark.watch { mark, number, _ in
            if mark == .snapshotWaitsForRoom { heard.withLock { $0.append(number) } }
        }
        CoverageMark.snapshotWaitsForRoom.hit(1)
        let other = Thread { CoverageMark.snapshotWaitsForRoom.hit(2) }
        other.start()
        while !other.isFinished { usleep(1_000) }
        CoverageMark.snapshotWaitsForRoom.hit(3)
        CoverageMark.watch(nil)
        CoverageMark.snapshotWaitsForRoom.hit(4)
        #expect(heard.withLock { $0 } == [1, 3])
    }
}
