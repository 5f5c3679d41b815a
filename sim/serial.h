// SPDX-License-Identifier: Apache-2.0
// The other end of a serial line, 8N1, called once a cycle of the design's clock.
#pragma once

#include <cstdint>
#include <deque>

class SerialSender {
public:
    explicit SerialSender(unsigned divisor) : divisor_(divisor) {}

    std::deque<uint8_t> bytes;

    // The level of the line in the next cycle.
    bool level() {
        if (!left_) {
            if (bytes.empty()) return true;
            frame_ = 0x200 | bytes.front() << 1;  // start bit below, stop bit above
            bytes.pop_front();
            left_ = 10 * divisor_;
        }
        const bool now = frame_ >> (10 * divisor_ - left_) / divisor_ & 1;
        --left_;
        return now;
    }

private:
    unsigned divisor_, left_ = 0, frame_ = 0;
};

class SerialReceiver {
public:
    explicit SerialReceiver(unsigned divisor) : divisor_(divisor) {}

    std::deque<uint8_t> bytes;

    void sample(bool level) {
        if (!busy_) {
            busy_ = !level;
            at_ = 0;
            return;
        }
        if (++at_ % divisor_ != divisor_ / 2) return;
        const unsigned bit = at_ / divisor_;
        if (bit >= 1 && bit <= 8) value_ = value_ >> 1 | level << 7;
        if (bit == 9) {
            bytes.push_back(value_);
            busy_ = false;
        }
    }

private:
    unsigned divisor_, at_ = 0, value_ = 0;
    bool busy_ = false;
};
