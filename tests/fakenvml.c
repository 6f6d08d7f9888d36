/* A stand-in for libnvidia-ml.so.1: two GPUs, the second without a power sensor and without memory of its own in the
   driver's eyes while the file named by FAKE_NVML_UNIFIED exists. The first is held back and has two processes, one of
   which the system cannot name. Calls that are missing here are those of a newer driver.

   Built by a test with: cc -shared -fPIC -o libnvidia-ml.so.1 fakenvml.c
   The binding looks symbols up when they are called, so only those need to exist; a missing one is an old driver's
   FunctionNotFound. While the file named by FAKE_NVML_LOST exists, the second card cannot be opened; while the one named
   by FAKE_NVML_MUTE exists, it can and tells nothing; while the one named by FAKE_NVML_UNLOADED exists, the driver is
   not loaded. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15 };

typedef int Result;
typedef struct { int index; } Device;
typedef struct { unsigned version; int sensor; int celsius; } Temperature;
typedef struct { unsigned pid; unsigned long long memory; unsigned instance, compute_instance; } Process;

static Device devices[2] = {{0}, {1}};

static int named_file_exists(const char *variable) {
    const char *path = getenv(variable);
    return path != NULL && access(path, F_OK) == 0;
}

static Result check(const Device *device) {
    return device->index == 1 && named_file_exists("FAKE_NVML_MUTE") ? GPU_IS_LOST : SUCCESS;
}

Result nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    return named_file_exists("FAKE_NVML_UNLOADED") ? DRIVER_NOT_LOADED : SUCCESS;
}

Result nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(Result result) { return result == NOT_SUPPORTED ? "Not Supported" : "Fake error"; }

Result nvmlDeviceGetCount_v2(unsigned *count) {
    *count = 2;
    return SUCCESS;
}

Result nvmlDeviceGetHandleByIndex_v2(unsigned index, Device **device) {
    if (index > 1) return INVALID_ARGUMENT;
    if (index == 1 && named_file_exists("FAKE_NVML_LOST")) return GPU_IS_LOST;
    *device = &devices[index];
    return SUCCESS;
}

Result nvmlDeviceGetName(Device *device, char *name, unsigned length) {
    snprintf(name, length, "Fake GPU %d", device->index);
    return check(device);
}

Result nvmlDeviceGetMemoryInfo(Device *device, unsigned long long *memory) {
    if (device->index == 1 && named_file_exists("FAKE_NVML_UNIFIED")) return NOT_SUPPORTED;
    memory[0] = 24ULL << 30;
    memory[1] = (20ULL - device->index) << 30;
    memory[2] = (4ULL + device->index) << 30;
    return check(device);
}

Result nvmlDeviceGetUtilizationRates(Device *device, unsigned *rates) {
    rates[0] = 40 + device->index;
    rates[1] = 10;
    return check(device);
}

/* The second card is of a driver that has the newer call only. */
Result nvmlDeviceGetTemperature(Device *device, int sensor, unsigned *celsius) {
    (void)sensor;
    if (device->index == 1) return NOT_SUPPORTED;
    *celsius = 60;
    return check(device);
}

Result nvmlDeviceGetTemperatureV(Device *device, Temperature *reading) {
    reading->celsius = 61;
    return check(device);
}

Result nvmlDeviceGetPowerUsage(Device *device, unsigned *milliwatts) {
    if (device->index == 1) return NOT_SUPPORTED;
    *milliwatts = 150000;
    return check(device);
}

Result nvmlDeviceGetEnforcedPowerLimit(Device *device, unsigned *milliwatts) {
    if (device->index == 1) return NOT_SUPPORTED;
    *milliwatts = 450000;
    return check(device);
}

Result nvmlDeviceGetUUID(Device *device, char *uuid, unsigned length) {
    snprintf(uuid, length, "GPU-fake-%d", device->index);
    return check(device);
}

/* Graphics 0, SM 1, memory 2. */
Result nvmlDeviceGetClockInfo(Device *device, int type, unsigned *mhz) {
    *mhz = type == 2 ? 10501 : 2520;
    return check(device);
}

Result nvmlDeviceGetMaxClockInfo(Device *device, int type, unsigned *mhz) {
    *mhz = type == 2 ? 10501 : 3105;
    return check(device);
}

/* Power cap, and thermal in software and hardware; the second card idles at clocks that somebody chose. */
Result nvmlDeviceGetCurrentClocksEventReasons(Device *device, unsigned long long *reasons) {
    *reasons = device->index == 0 ? 0x4 | 0x20 | 0x40 : 0x1 | 0x2 | 0x100;
    return check(device);
}

Result nvmlDeviceGetTotalEccErrors(Device *device, int type, int counter, unsigned long long *count) {
    if (device->index == 1 || type != 1 || counter != 0) return NOT_SUPPORTED;
    *count = 3;
    return check(device);
}

Result nvmlDeviceGetComputeRunningProcesses_v3(Device *device, unsigned *count, Process *processes) {
    if (device->index == 1) { *count = 0; return SUCCESS; }
    if (processes == NULL) { *count = 2; return INSUFFICIENT_SIZE; }
    processes[0] = (Process){4294967295u, 1ULL << 30, 0, 0};
    processes[1] = (Process){(unsigned)getpid(), 3ULL << 30, 0, 0};
    *count = 2;
    return check(device);
}
