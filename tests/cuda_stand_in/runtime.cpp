// CUDA's runtime and driver without a device. Memory is the host's, kernels do nothing, copies copy, and the rules of
// stream capture are kept. Preloaded, it lets PyTorch run everything that it does on the host where there is no GPU.
// Where numbers are computed (computing.py), copies, events and waits are handed to Python, which knows the kernels.
//
// README.md in this folder says what that can show. Functions that need no behaviour return 0; build.py makes them.
#include <cuda.h>
#include <driver_types.h>
#include <vector_types.h>

#include <dlfcn.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))

// ------------------------------------------------------------------------------------------------ what is kept in mind

struct Node {
    std::string kind, name;
};

struct Graph {
    unsigned long long id;  // of the capture that made it
    std::vector<Node> nodes;
};

struct Capture {
    unsigned long long id;
    cudaStreamCaptureMode mode;
    std::thread::id owner;
    bool invalid;
    Graph* graph;
};

struct Stream {
    int priority;
    Capture* capture;
};

struct Event {
    Capture* capture;               // valid only while captured_id names a capture under way
    bool recorded;
    unsigned long long captured_id;  // 0: recorded outside any capture
};

static std::recursive_mutex mutex;
using Lock = std::lock_guard<std::recursive_mutex>;

static Stream legacy_stream{0, nullptr};
static std::vector<Capture*> under_way;
static std::vector<Graph*> finished;
static unsigned long long captures = 0;
static std::map<char*, size_t> device_memory, pinned_memory;
static size_t device_bytes = 0;
static std::unordered_map<const void*, const char*>* kernel_names = nullptr;
static thread_local cudaStreamCaptureMode thread_mode = cudaStreamCaptureModeGlobal;
static thread_local cudaError_t last_error = cudaSuccess;

static struct {
    std::atomic<long> launch{0}, replay{0}, copy{0}, pageable{0}, allocation{0}, violation{0};
} counters;
static thread_local struct {
    long sync = 0, wait = 0;
} thread_counters;  // of each thread alone: a loader's thread may wait, the training loop's must not
static std::vector<std::string> violations;

static Stream* stream_of(const void* handle) {
    bool is_default = handle == nullptr || handle == (void*)1 || handle == (void*)2;
    return is_default ? &legacy_stream : (Stream*)handle;
}

static bool lies_in(const std::map<char*, size_t>& memory, const void* pointer) {
    auto next = memory.upper_bound((char*)pointer);
    if (next == memory.begin())
        return false;
    auto block = std::prev(next);
    return (char*)pointer < block->first + block->second;
}

static cudaError_t fail(cudaError_t error) {
    last_error = error;
    return error;
}

static void note_violation(const std::string& what) {
    counters.violation++;
    if (violations.size() < 1000)
        violations.push_back(what);
}

static cudaError_t invalidate(Capture* capture, const std::string& what, cudaError_t error) {
    capture->invalid = true;
    note_violation(what);
    return fail(error);
}

// A call that may synchronise is refused as the driver refuses it: by the mode of the calling thread and of the captures
// under way.
static cudaError_t refuse_while_capturing(const char* what) {
    Lock lock(mutex);
    if (thread_mode == cudaStreamCaptureModeRelaxed)
        return cudaSuccess;
    for (Capture* capture : under_way) {
        bool mine = capture->owner == std::this_thread::get_id();
        bool global = thread_mode == cudaStreamCaptureModeGlobal && capture->mode == cudaStreamCaptureModeGlobal;
        if (capture->mode != cudaStreamCaptureModeRelaxed && (mine || global))
            return invalidate(capture, what, cudaErrorStreamCaptureUnsupported);
    }
    return cudaSuccess;
}

// Work on a stream: a node of the graph that the stream captures, else a launch.
static cudaError_t work(const std::string& kind, const std::string& name, const void* handle, bool pageable = false) {
    Lock lock(mutex);
    Stream* stream = stream_of(handle);
    if (stream->capture && pageable)
        return invalidate(stream->capture, "pageable copy while capturing: " + name, cudaErrorStreamCaptureUnsupported);
    if (stream->capture) {
        stream->capture->graph->nodes.push_back({kind, name});
    } else {
        for (Capture* capture : under_way)
            if (capture->owner == std::this_thread::get_id())
                note_violation("work outside the graph by the capturing thread: " + kind + " " + name);
    }
    counters.launch++;
    return cudaSuccess;
}

// ------------------------------------------------------------------------------------- for device.py, through ctypes

EXPORT long stand_in_count(const char* what) {
    std::string name = what;
    if (name == "launch") return counters.launch;
    if (name == "replay") return counters.replay;
    if (name == "sync") return thread_counters.sync;
    if (name == "wait") return thread_counters.wait;
    if (name == "copy") return counters.copy;
    if (name == "pageable") return counters.pageable;
    if (name == "allocation") return counters.allocation;
    if (name == "violation") return counters.violation;
    return -1;
}

EXPORT const char* stand_in_violation(long number) {
    return number < (long)violations.size() ? violations[number].c_str() : nullptr;
}

// "kind name" of a node of the newest finished graph, or null.
EXPORT const char* stand_in_node(long number) {
    static std::string text;
    if (finished.empty() || number >= (long)finished.back()->nodes.size())
        return nullptr;
    const Node& node = finished.back()->nodes[number];
    text = node.kind + " " + node.name;
    return text.c_str();
}

EXPORT int stand_in_work(const char* kind, const char* name, void* stream) { return work(kind, name, stream); }

// ---------------------------------------------------------------------------------- for order.py, where numbers count

// Copies and replays happen there; with lazy streams it also hears of events and waits, and decides what they run.
// handle: an event's, a graph's number or a byte's value. Called without the mutex: it takes Python's own lock. Returns a
// cudaError_t.
using Hook = int (*)(const char* what, const void* handle, const void* stream, void* target, const void* source,
                     size_t bytes);
static std::atomic<Hook> hook{nullptr};
static std::atomic<bool> lazy{false};
static thread_local int hollow = 0;  // > 0: what is launched computes nothing, because a CPU's kernel does it

EXPORT void stand_in_hook(Hook given) { hook = given; }
EXPORT void stand_in_hollow(int more) { hollow += more; }
EXPORT void stand_in_lazy(int on) { lazy = on; }

// The number of the capture that this stream takes part in, or 0. Graphs have the number of their capture.
EXPORT unsigned long long stand_in_capture(void* handle) {
    Capture* capture = stream_of(handle)->capture;
    return capture ? capture->id : 0;
}

static cudaError_t tell(const char* what, const void* handle, const void* stream = nullptr, void* target = nullptr,
                        const void* source = nullptr, size_t bytes = 0) {
    Hook told = hook;
    return told ? (cudaError_t)told(what, handle, stream, target, source, bytes) : cudaSuccess;
}
// Where numbers count, a kernel that nothing computes must not pass for one that did.
static cudaError_t kernel(const char* kind, const std::string& name, const void* stream) {
    if (hook && !hollow) {
        note_violation("nothing computes " + std::string(kind) + " " + name);
        fprintf(stderr, "the stand-in: nothing computes %s %s, see tests/cuda_stand_in/README.md\n", kind, name.c_str());
        return cudaErrorUnknown;
    }
    return work(kind, name, stream);
}
static cudaError_t tell_if_lazy(const char* what, const void* handle, const void* stream = nullptr) {
    return lazy ? tell(what, handle, stream) : cudaSuccess;
}

// ----------------------------------------------------------------------------------------------------------- the device

static size_t memory_limit() {
    const char* gib = getenv("STAND_IN_MEMORY_GIB");
    return (size_t)((gib ? atof(gib) : 78.0) * (1ull << 30));
}

EXPORT cudaError_t cudaGetDeviceCount(int* count) { *count = 1; return cudaSuccess; }
EXPORT cudaError_t cudaGetDevice(int* device) { *device = 0; return cudaSuccess; }
EXPORT cudaError_t cudaSetDevice(int) { return cudaSuccess; }
EXPORT cudaError_t cudaDriverGetVersion(int* version) { *version = 13000; return cudaSuccess; }
EXPORT cudaError_t cudaRuntimeGetVersion(int* version) { *version = 13000; return cudaSuccess; }
EXPORT cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }
EXPORT cudaError_t cudaPeekAtLastError() { return last_error; }
EXPORT const char* cudaGetErrorName(cudaError_t) { return "standInError"; }

EXPORT const char* cudaGetErrorString(cudaError_t error) {
    switch (error) {
        case cudaErrorMemoryAllocation: return "out of memory";
        case cudaErrorStreamCaptureUnsupported: return "operation not permitted when stream is capturing";
        case cudaErrorStreamCaptureInvalidated: return "operation failed due to a previous error during capture";
        default: return "an error of the stand-in";
    }
}

EXPORT cudaError_t cudaGetDeviceProperties(cudaDeviceProp* device, int) {
    memset(device, 0, sizeof *device);
    strcpy(device->name, "Stand-in H100");
    device->major = 9;
    device->totalGlobalMem = memory_limit();
    device->multiProcessorCount = 132;
    device->warpSize = 32;
    device->maxThreadsPerBlock = device->maxThreadsDim[0] = device->maxThreadsDim[1] = 1024;
    device->maxThreadsDim[2] = 64;
    device->maxGridSize[0] = 2147483647;
    device->maxGridSize[1] = device->maxGridSize[2] = 65535;
    device->maxThreadsPerMultiProcessor = 2048;
    device->maxBlocksPerMultiProcessor = 32;
    device->sharedMemPerBlock = 49152;
    device->sharedMemPerBlockOptin = 232448;
    device->sharedMemPerMultiprocessor = 233472;
    device->regsPerBlock = device->regsPerMultiprocessor = 65536;
    device->totalConstMem = 65536;
    device->textureAlignment = 512;
    device->l2CacheSize = 50 << 20;
    device->memoryBusWidth = 5120;
    device->asyncEngineCount = 3;
    device->concurrentKernels = device->unifiedAddressing = device->cooperativeLaunch = device->ECCEnabled = 1;
    return cudaSuccess;
}

EXPORT cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
    static const std::map<int, int> values = {
        {cudaDevAttrMaxThreadsPerBlock, 1024},
        {cudaDevAttrMaxSharedMemoryPerBlock, 49152},
        {cudaDevAttrWarpSize, 32},
        {cudaDevAttrMaxRegistersPerBlock, 65536},
        {cudaDevAttrClockRate, 1980000},
        {cudaDevAttrMultiProcessorCount, 132},
        {cudaDevAttrMaxThreadsPerMultiProcessor, 2048},
        {cudaDevAttrComputeCapabilityMajor, 9},
        {cudaDevAttrComputeCapabilityMinor, 0},
        {cudaDevAttrMaxSharedMemoryPerMultiprocessor, 233472},
        {cudaDevAttrMaxRegistersPerMultiprocessor, 65536},
        {cudaDevAttrMaxSharedMemoryPerBlockOptin, 232448},
    };
    auto known = values.find(attribute);
    *value = known == values.end() ? 1 : known->second;
    return cudaSuccess;
}

EXPORT cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}
EXPORT cudaError_t cudaDeviceCanAccessPeer(int* can, int, int) { *can = 0; return cudaSuccess; }
EXPORT cudaError_t cudaDeviceGetPCIBusId(char* text, int size, int) {
    snprintf(text, size, "0000:00:00.0");
    return cudaSuccess;
}

EXPORT cudaError_t cudaDeviceSynchronize() {
    if (cudaError_t refused = refuse_while_capturing("cudaDeviceSynchronize"))
        return refused;
    thread_counters.sync++;
    return tell_if_lazy("wait for device", nullptr);
}

// --------------------------------------------------------------------------------------------------------------- memory

// Address space without memory behind it until it is written: a device of 78 GiB fits on a small host.
static void* reserve(size_t bytes) {
    void* block = mmap(nullptr, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return block == MAP_FAILED ? nullptr : block;
}

EXPORT cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
    Lock lock(mutex);
    *total_bytes = memory_limit();
    *free_bytes = *total_bytes - device_bytes;
    return cudaSuccess;
}

EXPORT cudaError_t cudaMalloc(void** pointer, size_t bytes) {
    if (cudaError_t refused = refuse_while_capturing("cudaMalloc"))
        return refused;
    Lock lock(mutex);
    *pointer = device_bytes + bytes <= memory_limit() ? reserve(bytes) : nullptr;
    if (!*pointer)
        return fail(cudaErrorMemoryAllocation);
    device_memory[(char*)*pointer] = bytes;
    device_bytes += bytes;
    counters.allocation++;
    return cudaSuccess;
}

EXPORT cudaError_t cudaFree(void* pointer) {
    if (!pointer)
        return cudaSuccess;
    if (cudaError_t refused = refuse_while_capturing("cudaFree"))
        return refused;
    if (cudaError_t failed = tell_if_lazy("wait for device", nullptr))  // as CUDA does before it frees
        return failed;
    Lock lock(mutex);
    auto block = device_memory.find((char*)pointer);
    if (block != device_memory.end()) {
        munmap(pointer, block->second);
        device_bytes -= block->second;
        device_memory.erase(block);
    }
    return cudaSuccess;
}

EXPORT cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned) {
    if (cudaError_t refused = refuse_while_capturing("cudaHostAlloc"))
        return refused;
    Lock lock(mutex);
    *pointer = reserve(bytes);
    pinned_memory[(char*)*pointer] = bytes;
    return cudaSuccess;
}

EXPORT cudaError_t cudaFreeHost(void* pointer) {
    if (cudaError_t failed = tell_if_lazy("wait for device", nullptr))
        return failed;
    Lock lock(mutex);
    auto block = pinned_memory.find((char*)pointer);
    if (block != pinned_memory.end()) {
        munmap(pointer, block->second);
        pinned_memory.erase(block);
    }
    return cudaSuccess;
}

EXPORT cudaError_t cudaHostRegister(void* pointer, size_t bytes, unsigned) {
    Lock lock(mutex);
    pinned_memory[(char*)pointer] = bytes;
    return cudaSuccess;
}

EXPORT cudaError_t cudaHostUnregister(void* pointer) {
    if (cudaError_t failed = tell_if_lazy("wait for device", nullptr))
        return failed;
    Lock lock(mutex);
    pinned_memory.erase((char*)pointer);
    return cudaSuccess;
}

EXPORT cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
    Lock lock(mutex);
    memset(attributes, 0, sizeof *attributes);
    attributes->type = cudaMemoryTypeUnregistered;
    if (lies_in(device_memory, pointer)) {
        attributes->type = cudaMemoryTypeDevice;
        attributes->devicePointer = (void*)pointer;
    } else if (lies_in(pinned_memory, pointer)) {
        attributes->type = cudaMemoryTypeHost;
        attributes->devicePointer = attributes->hostPointer = (void*)pointer;
    }
    return cudaSuccess;
}

// In a capture nothing is copied: a replay would copy what is there then. CUDA takes what it copies from pageable memory
// before it returns, and waits until it has copied to it.
static cudaError_t copy(void* target, const void* source, size_t bytes, const void* stream, const char* call) {
    bool to_device, from_device, from_pageable, to_pageable;
    {
        Lock lock(mutex);
        to_device = lies_in(device_memory, target);
        from_device = lies_in(device_memory, source);
        to_pageable = !to_device && !lies_in(pinned_memory, target);
        from_pageable = !from_device && !lies_in(pinned_memory, source);
    }
    bool pageable = to_pageable || from_pageable;
    std::string way = std::string(from_device ? "device" : "host") + " to " + (to_device ? "device" : "host");
    if (cudaError_t refused = work("copy", way + (pageable ? ", pageable, by " : " by ") + call, stream, pageable))
        return refused;
    counters.copy++;
    counters.pageable += pageable;
    if (hook)
        return tell(to_pageable ? "copy to pageable" : from_pageable ? "copy from pageable" : "copy", nullptr, stream,
                    target, source, bytes);
    if (!stream_of(stream)->capture)
        memmove(target, source, bytes);
    return cudaSuccess;
}

EXPORT cudaError_t cudaMemcpyAsync(void* target, const void* source, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
    return copy(target, source, bytes, stream, "cudaMemcpyAsync");
}

EXPORT cudaError_t cudaMemcpy(void* target, const void* source, size_t bytes, cudaMemcpyKind) {
    if (cudaError_t refused = refuse_while_capturing("cudaMemcpy"))
        return refused;
    thread_counters.sync++;
    cudaError_t refused = copy(target, source, bytes, nullptr, "cudaMemcpy");
    return refused ? refused : tell_if_lazy("wait for stream", nullptr);
}

EXPORT cudaError_t cudaMemcpy2DAsync(void* target, size_t target_pitch, const void* source, size_t source_pitch,
                                     size_t width, size_t height, cudaMemcpyKind, cudaStream_t stream) {
    if (cudaError_t refused = work("copy", "cudaMemcpy2DAsync", stream))
        return refused;
    for (size_t row = 0; row < height; row++) {
        char* to = (char*)target + row * target_pitch;
        const char* from = (const char*)source + row * source_pitch;
        if (hook) {
            if (cudaError_t failed = tell("copy", nullptr, stream, to, from, width))
                return failed;
        } else if (!stream_of(stream)->capture) {
            memmove(to, from, width);
        }
    }
    return cudaSuccess;
}

EXPORT cudaError_t cudaMemsetAsync(void* target, int value, size_t bytes, cudaStream_t stream) {
    if (cudaError_t refused = work("memset", "cudaMemsetAsync", stream))
        return refused;
    if (hook)
        return tell("set", (const void*)(size_t)(value & 255), stream, target, nullptr, bytes);
    if (!stream_of(stream)->capture)
        memset(target, value, bytes);
    return cudaSuccess;
}

EXPORT cudaError_t cudaMemset(void* target, int value, size_t bytes) {
    return cudaMemsetAsync(target, value, bytes, nullptr);
}

EXPORT cudaError_t cudaMemcpyToSymbol(const void*, const void*, size_t, size_t, cudaMemcpyKind) { return cudaSuccess; }
EXPORT cudaError_t cudaGetSymbolAddress(void** pointer, const void*) {
    static char symbol[65536];
    *pointer = symbol;
    return cudaSuccess;
}

// --------------------------------------------------------------------------------------------------- streams and events

EXPORT cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int priority) {
    *stream = (cudaStream_t) new Stream{priority, nullptr};
    return cudaSuccess;
}
EXPORT cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithPriority(stream, 0, 0); }
EXPORT cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
    return cudaStreamCreateWithPriority(stream, flags, 0);
}
EXPORT cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
EXPORT cudaError_t cudaStreamGetPriority(cudaStream_t stream, int* priority) {
    *priority = stream_of(stream)->priority;
    return cudaSuccess;
}

static cudaError_t refuse_captured(const void* handle, const char* what) {
    Lock lock(mutex);
    Capture* capture = stream_of(handle)->capture;
    return capture ? invalidate(capture, what, cudaErrorStreamCaptureUnsupported) : cudaSuccess;
}

EXPORT cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    if (cudaError_t refused = refuse_captured(stream, "cudaStreamSynchronize of a capturing stream"))
        return refused;
    if (cudaError_t refused = refuse_while_capturing("cudaStreamSynchronize"))
        return refused;
    thread_counters.sync++;
    return tell_if_lazy("wait for stream", nullptr, stream);
}
EXPORT cudaError_t cudaStreamQuery(cudaStream_t stream) {
    if (cudaError_t refused = refuse_captured(stream, "cudaStreamQuery of a capturing stream"))
        return refused;
    return tell_if_lazy("is stream done", nullptr, stream);
}

EXPORT cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
    *event = (cudaEvent_t) new Event{nullptr, false, 0};
    return cudaSuccess;
}
EXPORT cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }
EXPORT cudaError_t cudaEventDestroy(cudaEvent_t event) {
    tell_if_lazy("forget event", event);
    delete (Event*)event;
    return cudaSuccess;
}
EXPORT cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t stream) {
    Event* event = (Event*)handle;
    {
        Lock lock(mutex);
        event->capture = stream_of(stream)->capture;
        event->recorded = true;
        event->captured_id = event->capture ? event->capture->id : 0;
    }
    return event->captured_id ? cudaSuccess : tell_if_lazy("record event", handle, stream);
}
EXPORT cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned) {
    return cudaEventRecord(event, stream);
}

static bool is_under_way(unsigned long long id) {
    for (Capture* capture : under_way)
        if (capture->id == id)
            return true;
    return false;
}

static cudaError_t refuse_captured_event(Event* event, const char* what) {
    Lock lock(mutex);
    if (!event->captured_id)
        return cudaSuccess;
    if (is_under_way(event->captured_id))
        event->capture->invalid = true;
    note_violation(what);
    return fail(cudaErrorCapturedEvent);
}

EXPORT cudaError_t cudaEventQuery(cudaEvent_t event) {
    if (cudaError_t refused = refuse_captured_event((Event*)event, "cudaEventQuery of a captured event"))
        return refused;
    if (cudaError_t refused = refuse_while_capturing("cudaEventQuery"))
        return refused;
    return tell_if_lazy("is event done", event);
}
EXPORT cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    if (cudaError_t refused = refuse_captured_event((Event*)event, "cudaEventSynchronize of a captured event"))
        return refused;
    if (cudaError_t refused = refuse_while_capturing("cudaEventSynchronize"))
        return refused;
    thread_counters.wait++;
    return tell_if_lazy("wait for event", event);
}
EXPORT cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
    *milliseconds = 0.01f;
    return cudaSuccess;
}

// A stream that waits for a captured event joins its capture; a capturing stream must not wait for anything else.
EXPORT cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t awaited, unsigned) {
    Event* event = (Event*)awaited;
    Stream* stream = stream_of(handle);
    if (!event->captured_id && !stream->capture)
        return tell_if_lazy("stream waits for event", awaited, handle);
    Lock lock(mutex);
    if (event->captured_id && is_under_way(event->captured_id)) {
        if (!stream->capture && stream == &legacy_stream)
            return invalidate(event->capture, "the legacy stream waits for a captured event", cudaErrorStreamCaptureImplicit);
        if (!stream->capture)
            stream->capture = event->capture;
    } else if (stream->capture && event->recorded) {
        return invalidate(stream->capture, "a capturing stream waits for an event from outside the capture",
                          cudaErrorStreamCaptureIsolation);
    }
    return cudaSuccess;
}

EXPORT cudaError_t cudaStreamAddCallback(cudaStream_t, void*, void*, unsigned) { return cudaSuccess; }
EXPORT cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t, void*) {
    return work("host function", "cudaLaunchHostFunc", stream);
}

// --------------------------------------------------------------------------------------------------- capture and graphs

EXPORT cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
    std::swap(thread_mode, *mode);
    return cudaSuccess;
}

EXPORT cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
    Capture* capture = stream_of(stream)->capture;
    *status = !capture           ? cudaStreamCaptureStatusNone
              : capture->invalid ? cudaStreamCaptureStatusInvalidated
                                 : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

EXPORT cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, cudaStreamCaptureStatus* status, unsigned long long* id,
                                            cudaGraph_t* graph, const cudaGraphNode_t** nodes,
                                            const cudaGraphEdgeData** edges, size_t* count) {
    Capture* capture = stream_of(stream)->capture;
    if (id) *id = capture ? capture->id : 0;
    if (graph) *graph = capture ? (cudaGraph_t)capture->graph : nullptr;
    if (nodes) *nodes = nullptr;
    if (edges) *edges = nullptr;
    if (count) *count = 0;
    return cudaStreamIsCapturing(stream, status);
}

EXPORT cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
    Lock lock(mutex);
    Stream* stream = stream_of(handle);
    if (stream == &legacy_stream)
        return fail(cudaErrorStreamCaptureUnsupported);
    if (stream->capture)
        return fail(cudaErrorIllegalState);
    stream->capture = new Capture{++captures, mode, std::this_thread::get_id(), false, new Graph{captures, {}}};
    under_way.push_back(stream->capture);
    return cudaSuccess;
}

EXPORT cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
    Lock lock(mutex);
    Stream* stream = stream_of(handle);
    Capture* capture = stream->capture;
    if (!capture)
        return fail(cudaErrorIllegalState);
    for (size_t place = 0; place < under_way.size(); place++)
        if (under_way[place] == capture) {
            under_way.erase(under_way.begin() + place);
            break;
        }
    stream->capture = nullptr;
    finished.push_back(capture->graph);
    *graph = capture->invalid ? nullptr : (cudaGraph_t)capture->graph;
    return capture->invalid ? fail(cudaErrorStreamCaptureInvalidated) : cudaSuccess;
}

EXPORT cudaError_t cudaStreamUpdateCaptureDependencies(cudaStream_t, cudaGraphNode_t*, const cudaGraphEdgeData*, size_t,
                                                       unsigned) {
    return cudaSuccess;
}
EXPORT cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t*, size_t* count) {
    *count = ((Graph*)graph)->nodes.size();
    return cudaSuccess;
}
EXPORT cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
    *executable = (cudaGraphExec_t)graph;
    return cudaSuccess;
}
EXPORT cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) {
    counters.replay++;
    return tell("replay", (const void*)((Graph*)graph)->id, stream);
}
EXPORT cudaError_t cudaGraphDestroy(cudaGraph_t) { return cudaSuccess; }
EXPORT cudaError_t cudaGraphExecDestroy(cudaGraphExec_t) { return cudaSuccess; }

// ---------------------------------------------------------------------------------------------- kernels of the runtime

EXPORT void** __cudaRegisterFatBinary(void*) {
    static void* handle[4];
    return handle;
}
EXPORT void __cudaRegisterFatBinaryEnd(void**) {}
EXPORT void __cudaUnregisterFatBinary(void**) {}
EXPORT char __cudaInitModule(void**) { return 1; }
EXPORT void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}
EXPORT void __cudaRegisterFunction(void**, const char* host, char*, const char* name, int, uint3*, uint3*, dim3*, dim3*,
                                   int*) {
    if (!kernel_names)  // these calls come before this library's own initialisation
        kernel_names = new std::unordered_map<const void*, const char*>;
    (*kernel_names)[host] = name;
}

struct LaunchConfiguration {
    dim3 grid, block;
    size_t shared_bytes;
    void* stream;
};
static thread_local LaunchConfiguration pushed;

EXPORT unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared_bytes, void* stream) {
    pushed = {grid, block, shared_bytes, stream};
    return 0;
}
EXPORT cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared_bytes, void* stream) {
    *grid = pushed.grid;
    *block = pushed.block;
    *shared_bytes = pushed.shared_bytes;
    *(void**)stream = pushed.stream;
    return cudaSuccess;
}

static cudaError_t launch_kernel(const void* function, const void* stream) {
    auto known = kernel_names->find(function);
    cudaError_t refused = kernel("kernel", known == kernel_names->end() ? "unknown" : known->second, stream);
    return refused ? fail(refused) : cudaSuccess;  // the driver's launches, Triton's, leave no error behind
}

EXPORT cudaError_t __cudaGetKernel(void** kernel, const void* function) {
    *kernel = (void*)function;
    return cudaSuccess;
}
EXPORT cudaError_t cudaLaunchKernel(const void* function, dim3, dim3, void**, size_t, cudaStream_t stream) {
    return launch_kernel(function, stream);
}
EXPORT cudaError_t __cudaLaunchKernel(void* kernel, dim3, dim3, void**, size_t, cudaStream_t stream) {
    return launch_kernel(kernel, stream);
}
EXPORT cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* configuration, const void* function, void**) {
    return launch_kernel(function, configuration->stream);
}
EXPORT cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*) {
    memset(attributes, 0, sizeof *attributes);
    attributes->maxThreadsPerBlock = 1024;
    attributes->numRegs = 32;
    attributes->binaryVersion = attributes->ptxVersion = 90;
    attributes->maxDynamicSharedSizeBytes = 49152;
    return cudaSuccess;
}
EXPORT cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void*, int, size_t,
                                                                          unsigned) {
    *blocks = 2;
    return cudaSuccess;
}
EXPORT cudaError_t cudaLibraryGetKernel(void** kernel, void*, const char*) {
    *kernel = (void*)1;
    return cudaSuccess;
}
EXPORT cudaError_t cudaLibraryLoadData(void** library, const void*, void*, void*, unsigned, void*, void*, unsigned) {
    *library = (void*)1;
    return cudaSuccess;
}

// ---------------------------------------------------------------------------------------------- driver, for Triton

static int succeed() { return 0; }

EXPORT cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned, unsigned long long,
                                                    cudaDriverEntryPointQueryResult* result) {
    void* found = dlsym(RTLD_DEFAULT, name);
    *function = found ? found : (void*)succeed;
    if (result)
        *result = cudaDriverEntryPointSuccess;
    return cudaSuccess;
}

EXPORT CUresult cuInit(unsigned) { return CUDA_SUCCESS; }
EXPORT CUresult cuDriverGetVersion(int* version) { *version = 13000; return CUDA_SUCCESS; }
EXPORT CUresult cuDeviceGetCount(int* count) { *count = 1; return CUDA_SUCCESS; }
EXPORT CUresult cuDeviceGet(CUdevice* device, int number) { *device = number; return CUDA_SUCCESS; }
EXPORT CUresult cuDeviceGetName(char* text, int size, CUdevice) {
    snprintf(text, size, "Stand-in H100");
    return CUDA_SUCCESS;
}
EXPORT CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
    return (CUresult)cudaDeviceGetAttribute(value, (cudaDeviceAttr)attribute, device);
}
EXPORT CUresult cuDevicePrimaryCtxGetState(CUdevice, unsigned* flags, int* active) {
    if (flags)
        *flags = 0;
    *active = 1;
    return CUDA_SUCCESS;
}

static const CUcontext CONTEXT = (CUcontext)0x10;
EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice) { *context = CONTEXT; return CUDA_SUCCESS; }
EXPORT CUresult cuCtxGetCurrent(CUcontext* context) { *context = CONTEXT; return CUDA_SUCCESS; }
EXPORT CUresult cuCtxSetCurrent(CUcontext) { return CUDA_SUCCESS; }
EXPORT CUresult cuCtxGetDevice(CUdevice* device) { *device = 0; return CUDA_SUCCESS; }
EXPORT CUresult cuCtxSetLimit(CUlimit, size_t) { return CUDA_SUCCESS; }
EXPORT CUresult cuCtxGetLimit(size_t* value, CUlimit) { *value = 0; return CUDA_SUCCESS; }
EXPORT CUresult cuGetErrorString(CUresult, const char** text) { *text = "an error of the stand-in"; return CUDA_SUCCESS; }

EXPORT CUresult cuModuleLoadData(CUmodule* module, const void*) { *module = (CUmodule) new int; return CUDA_SUCCESS; }
EXPORT CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned, CUjit_option*, void**) {
    return cuModuleLoadData(module, image);
}
EXPORT CUresult cuModuleLoad(CUmodule* module, const char* path) { return cuModuleLoadData(module, path); }
EXPORT CUresult cuModuleUnload(CUmodule) { return CUDA_SUCCESS; }
EXPORT CUresult cuModuleGetFunction(CUfunction* function, CUmodule, const char* name) {
    *function = (CUfunction) new std::string(name);
    return CUDA_SUCCESS;
}
EXPORT CUresult cuFuncGetAttribute(int* value, CUfunction_attribute attribute, CUfunction) {
    *value = attribute == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK ? 1024 : attribute == CU_FUNC_ATTRIBUTE_NUM_REGS ? 32 : 0;
    return CUDA_SUCCESS;
}
EXPORT CUresult cuFuncSetAttribute(CUfunction, CUfunction_attribute, int) { return CUDA_SUCCESS; }
EXPORT CUresult cuFuncSetCacheConfig(CUfunction, CUfunc_cache) { return CUDA_SUCCESS; }

static CUresult launch_triton(CUfunction function, const void* stream) {
    return (CUresult)kernel("triton", *(std::string*)function, stream);
}
EXPORT CUresult cuLaunchKernel(CUfunction function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                               CUstream stream, void**, void**) {
    return launch_triton(function, stream);
}
EXPORT CUresult cuLaunchKernelEx(const CUlaunchConfig* configuration, CUfunction function, void**, void**) {
    return launch_triton(function, configuration->hStream);
}
EXPORT CUresult cuLaunchCooperativeKernel(CUfunction function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                                          unsigned, CUstream stream, void**) {
    return launch_triton(function, stream);
}
EXPORT CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction, int, size_t) {
    *blocks = 2;
    return CUDA_SUCCESS;
}
EXPORT CUresult cuOccupancyMaxActiveClusters(int* clusters, CUfunction, const CUlaunchConfig*) {
    *clusters = 1;
    return CUDA_SUCCESS;
}
EXPORT CUresult cuPointerGetAttribute(void* value, CUpointer_attribute attribute, CUdeviceptr pointer) {
    if (attribute == CU_POINTER_ATTRIBUTE_DEVICE_POINTER)
        *(CUdeviceptr*)value = pointer;
    else
        *(long*)value = 0;
    return CUDA_SUCCESS;
}
EXPORT CUresult cuPointerGetAttributes(unsigned count, CUpointer_attribute*, void** values, CUdeviceptr) {
    for (unsigned number = 0; number < count; number++)
        if (values[number])
            *(int*)values[number] = 1;
    return CUDA_SUCCESS;
}

// ------------------------------------------------------------------------------------ cuBLAS and cuDNN know their stream

struct Handle {
    void* stream;
    int math_mode, pointer_mode;
};
static const int EXECUTION_FAILED = 13;

static int library_work(const char* kind, const std::string& name, void* handle) {
    return kernel(kind, name, ((Handle*)handle)->stream) ? EXECUTION_FAILED : 0;
}
static std::string product(const char* call, int m, int n, int k) {
    return std::string(call) + " " + std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k);
}

EXPORT int cublasCreate_v2(void** handle) { *handle = new Handle{}; return 0; }
EXPORT int cublasDestroy_v2(void*) { return 0; }
EXPORT int cublasSetStream_v2(void* handle, void* stream) { ((Handle*)handle)->stream = stream; return 0; }
EXPORT int cublasGetMathMode(void* handle, int* mode) { *mode = ((Handle*)handle)->math_mode; return 0; }
EXPORT int cublasSetMathMode(void* handle, int mode) { ((Handle*)handle)->math_mode = mode; return 0; }
EXPORT int cublasGetPointerMode_v2(void* handle, int* mode) { *mode = ((Handle*)handle)->pointer_mode; return 0; }
EXPORT int cublasSetPointerMode_v2(void* handle, int mode) { ((Handle*)handle)->pointer_mode = mode; return 0; }
EXPORT int cublasSgemm_v2(void* handle, int, int, int m, int n, int k) {
    return library_work("gemm", product("cublasSgemm", m, n, k), handle);
}
EXPORT int cublasGemmEx(void* handle, int, int, int m, int n, int k) {
    return library_work("gemm", product("cublasGemmEx", m, n, k), handle);
}
EXPORT int cublasSgemmStridedBatched(void* handle, int, int, int m, int n, int k) {
    return library_work("gemm", product("cublasSgemmStridedBatched", m, n, k), handle);
}
EXPORT int cublasGemmStridedBatchedEx(void* handle, int, int, int m, int n, int k) {
    return library_work("gemm", product("cublasGemmStridedBatchedEx", m, n, k), handle);
}
EXPORT int cublasSgemv_v2(void* handle) { return library_work("gemm", "cublasSgemv", handle); }

EXPORT size_t cublasLtGetVersion() { return 130000; }
EXPORT int cublasLtMatmulAlgoGetHeuristic(void*, void*, void*, void*, void*, void*, void*, int, void* result, int* count) {
    memset(result, 0, 64);
    *count = 1;
    return 0;
}
EXPORT int cublasLtMatmul(void*, void*, const void*, const void*, void*, const void*, void*, const void*, const void*,
                          void*, void*, void*, const void*, void*, size_t, void* stream) {
    return kernel("gemm", "cublasLtMatmul", stream) ? EXECUTION_FAILED : 0;
}

EXPORT int cudnnCreate(void** handle) { *handle = new Handle{}; return 0; }
EXPORT int cudnnSetStream(void* handle, void* stream) { ((Handle*)handle)->stream = stream; return 0; }
EXPORT int cudnnGetStream(void* handle, void** stream) { *stream = ((Handle*)handle)->stream; return 0; }
EXPORT size_t cudnnGetVersion() { return 92400; }
EXPORT size_t cudnnGetCudartVersion() { return 13000; }
EXPORT const char* cudnnGetErrorString(int) { return "an error of the stand-in"; }
EXPORT void cudnnGetLastErrorString(char* text, size_t size) { snprintf(text, size, "an error of the stand-in"); }
EXPORT int cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize(void*, int, int, void*, void*, void*, void*, void*,
                                                                    size_t* bytes) {
    *bytes = 0;
    return 0;
}
EXPORT int cudnnGetBatchNormalizationBackwardExWorkspaceSize(void*, int, int, void*, void*, void*, void*, void*, void*,
                                                             void*, size_t* bytes) {
    *bytes = 0;
    return 0;
}
EXPORT int cudnnGetBatchNormalizationTrainingExReserveSpaceSize(void*, int, int, void*, void*, size_t* bytes) {
    *bytes = 0;
    return 0;
}
EXPORT int cudnnBatchNormalizationForwardTrainingEx(void* handle) { return library_work("cudnn", "bn forward", handle); }
EXPORT int cudnnBatchNormalizationBackwardEx(void* handle) { return library_work("cudnn", "bn backward", handle); }
EXPORT int cudnnBatchNormalizationForwardInference(void* handle) { return library_work("cudnn", "bn test", handle); }
