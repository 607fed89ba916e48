// hls::stream<T> for any C++14 compiler: a queue without a bound. Reading an empty one ends the program,
// because in hardware it would wait for ever.
#ifndef TILEWRIGHT_HLS_STREAM_H
#define TILEWRIGHT_HLS_STREAM_H

#include <cstdio>
#include <cstdlib>

namespace hls {

template <typename T>
class stream {
    T* beats;
    unsigned long capacity, head, tail;  // beats[head] is the oldest, beats[tail - 1] the newest
    const char* name;

    stream(const stream&);
    stream& operator=(const stream&);

    void make_room() {
        // At least half of the array is free after every move, so a beat is moved once on average.
        const unsigned long waiting = tail - head;
        const unsigned long wanted = waiting * 2 > capacity ? capacity * 2 : capacity;
        T* fresh = new T[wanted];
        for (unsigned long i = 0; i < waiting; i++) fresh[i] = beats[head + i];
        delete[] beats;
        beats = fresh;
        capacity = wanted;
        head = 0;
        tail = waiting;
    }

public:
    explicit stream(const char* label = "unnamed")
        : beats(new T[64]), capacity(64), head(0), tail(0), name(label) {}
    ~stream() { delete[] beats; }

    bool empty() const { return head == tail; }
    unsigned long size() const { return tail - head; }

    T read() {
        if (empty()) {
            std::fprintf(stderr, "stream '%s': read while empty; in hardware this waits for ever\n", name);
            std::exit(3);
        }
        return beats[head++];
    }

    void write(const T& beat) {
        if (head == tail) head = tail = 0;
        if (tail == capacity) make_room();
        beats[tail++] = beat;
    }
};

}  // namespace hls

#endif
