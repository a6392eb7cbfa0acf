import FuzzDriver

FuzzProgram.run(seeds: FrameSeeds.all) { bytes in
    var input = FuzzInput(bytes)
    switch input.byte() & 3 {
    case 0: ReceivedFrame.checkStream(input.rest())
    case 1: ReceivedFrame.checkBody(kind: input.byte(), input.rest())
    case 2: ReceivedGreeting.check(input.rest())
    default: SentFrame.check(&input)
    }
}
