// SPDX-FileCopyrightText: 2026 The Sprache authors
// SPDX-License-Identifier: MIT

// CUDA devices for a PyTorch without any: tensors say `cuda:0`, lie in this process's memory, and
// are computed with by the kernels of the CPU. What a real device would not take, or would make
// the host wait for, is found out: tensors of several devices in one operation, fresh memory that
// is read before it is written (it is filled with NaN), work on several streams that no event puts in
// order, and waits, which are counted.

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/native/Resize.h>
#include <ATen/native/TensorShape.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/resize_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_as_complex_native.h>
#include <ATen/ops/view_as_real_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>

namespace {

using at::Device, at::Tensor, c10::IValue;
constexpr auto CUDA = c10::kCUDA;
constexpr c10::DeviceIndex DEVICES = 2;

thread_local c10::DeviceIndex current = 0;
thread_local c10::StreamId streams[DEVICES] = {0, 0};
std::atomic<int64_t> waits{0}, live{0};  // the latter in bytes
int64_t available = 0;
std::string last_wait;  // the operation of the last one

// ---- order ----

// Everything is done at once, but only what a real device would do in order may touch the same
// memory. A stream counts its operations; its clock says up to which one of every other stream has
// surely been done before its own next one, and the host's, before all that is launched from now on.
using StreamKey = int64_t;  // device and stream
using Clock = std::map<StreamKey, int64_t>;

std::map<StreamKey, Clock> clocks;
Clock host;
std::string broken;  // what was found where nothing can be thrown
std::recursive_mutex order;

StreamKey key_of(c10::DeviceIndex device, c10::StreamId stream) { return device + DEVICES * stream; }
StreamKey here() { return key_of(current, streams[current]); }

// A copy to pinned memory that is not waited for: the host sees nothing of it (NaN) before it knows
// that the stream has come so far.
struct Arrival {
  StreamKey stream;
  int64_t time;
  std::function<void()> arrive;
};
std::vector<Arrival> under_way;

void merge(Clock& clock, const Clock& other) {
  for (auto [stream, time] : other) clock[stream] = std::max(clock[stream], time);
}

int64_t known(const Clock& clock, StreamKey stream) {
  auto found = clock.find(stream);
  return found == clock.end() ? 0 : found->second;
}

// The host has learnt of all that is in a clock.
void host_sees(const Clock& clock) {
  merge(host, clock);
  std::vector<Arrival> later;
  for (auto& copy : under_way) {
    if (known(host, copy.stream) >= copy.time) copy.arrive();
    else later.push_back(copy);
  }
  under_way = later;
}

// ---- graphs ----

// What was done while it was captured, and the memory that was allocated meanwhile: it stays the
// graph's, which works in the same places each time.
struct Graph {
  std::vector<std::function<void()>> steps;  // an empty one is Python's to do
  std::vector<std::string> names;
  std::vector<void*> memory;
  ~Graph();
};

std::map<int64_t, std::shared_ptr<Graph>> graphs;
std::shared_ptr<Graph> capturing;

void wait(const std::string& what) {
  TORCH_CHECK(!capturing, "CUDA error: operation not permitted when stream is capturing (", what, ")");
  ++waits;
  last_wait = what;
  std::lock_guard lock(order);
  for (auto& [stream, clock] : clocks)
    if (stream == here() || what == "synchronize") host_sees(clock);
}

// ---- memory ----

struct Block {
  void* data;
  size_t size;
  std::weak_ptr<Graph> graph;
};

struct Memory final : c10::Allocator {
  struct Extent {
    size_t size;
    int64_t number;       // how many were allocated before
    StreamKey home = 0;   // the stream on which it was asked for, and is used again
    Clock reads, writes;  // the last ones of every stream
    std::set<StreamKey> recorded = {};
    std::string last = {};  // operation that touched it
  };
  static inline std::map<uintptr_t, Extent> blocks;  // all that may be touched
  static inline int64_t allocations = 0;

  c10::DataPtr allocate(size_t size) override {
    TORCH_CHECK_WITH(OutOfMemoryError, live + static_cast<int64_t>(size) <= available,
                     "CUDA out of memory. Tried to allocate ", size / 1048576., " MiB.");
    void* data = size ? std::aligned_alloc(512, (size + 511) / 512 * 512) : nullptr;
    if (data) std::memset(data, 0xff, size);
    live += size;
    std::lock_guard lock(order);
    if (data) blocks[reinterpret_cast<uintptr_t>(data)] = {size, ++allocations, here()};
    return {data, new Block{data, size, capturing}, &drop, Device(CUDA, current)};
  }

  static void drop(void* context) {
    auto block = static_cast<Block*>(context);
    live -= block->size;
    if (block->data) {
      std::lock_guard lock(order);
      auto at = reinterpret_cast<uintptr_t>(block->data);
      auto graph = block->graph.lock();
      if (!graph) check_uses(blocks.at(at));
      std::memset(block->data, 0xff, block->size);
      if (graph) {
        graph->memory.push_back(block->data);
      } else {
        blocks.erase(at);
        std::free(block->data);
      }
    }
    delete block;
  }

  // What is asked for next on the same stream may get this memory, when the streams for which it
  // was recorded have come as far as they are now.
  static void check_uses(const Extent& extent) {
    auto over = host;
    merge(over, clocks[extent.home]);
    for (auto stream : extent.recorded) merge(over, clocks[stream]);
    for (auto* uses : {&extent.reads, &extent.writes})
      for (auto [stream, time] : *uses)
        if (stream != extent.home && !extent.recorded.count(stream) && known(over, stream) < time)
          broken = c10::str("memory was freed while another stream may be using it (record_stream): ",
                            extent.size, " bytes of stream ", extent.home, ", ", extent.last,
                            " on stream ", stream);
  }

  static Extent& extent_at(uintptr_t at, const std::string& what) {
    auto next = blocks.upper_bound(at);
    TORCH_CHECK(next != blocks.begin() && at < std::prev(next)->first + std::prev(next)->second.size,
                what, " touches memory that has been freed");
    return std::prev(next)->second;
  }

  // An operation on the current stream reads or writes what lies at an address.
  static void touch(const void* pointer, bool writes, const std::string& what) {
    std::lock_guard lock(order);
    auto& extent = extent_at(reinterpret_cast<uintptr_t>(pointer), what);
    TORCH_CHECK(broken.empty(), broken);
    auto stream = here();
    auto& clock = clocks[stream];
    merge(clock, host);
    for (auto* uses : {&extent.writes, writes ? &extent.reads : &extent.writes})
      for (auto [other, time] : *uses)
        TORCH_CHECK(other == stream || known(clock, other) >= time, what, writes ? " writes" : " reads",
                    " what another stream may be using (wait_stream)");
    (writes ? extent.writes : extent.reads)[stream] = ++clock[stream];
    extent.last = what;
  }
  static void touch(const Tensor& x, bool writes, const std::string& what) {
    if (x.numel()) touch(x.const_data_ptr(), writes, what);
  }

  void copy_data(void* to, const void* from, std::size_t count) const override {
    std::memcpy(to, from, count);
  }
} memory;

Graph::~Graph() {
  std::lock_guard lock(order);
  for (void* data : memory) {
    Memory::blocks.erase(reinterpret_cast<uintptr_t>(data));
    std::free(data);
  }
}

struct PinnedMemory final : c10::Allocator {
  static inline std::map<uintptr_t, size_t> pinned;
  static inline std::mutex mutex;
  c10::DataPtr allocate(size_t size) override {
    void* data = std::malloc(size ? size : 1);
    std::lock_guard lock(mutex);
    pinned[reinterpret_cast<uintptr_t>(data)] = size ? size : 1;
    return {data, data, &drop, Device(c10::kCPU)};
  }
  static void drop(void* data) {
    std::lock_guard lock(mutex);
    pinned.erase(reinterpret_cast<uintptr_t>(data));
    std::free(data);
  }
  void copy_data(void* to, const void* from, std::size_t count) const override {
    std::memcpy(to, from, count);
  }
  static bool holds(const void* pointer) {
    std::lock_guard lock(mutex);
    auto at = reinterpret_cast<uintptr_t>(pointer);
    auto next = pinned.upper_bound(at);
    return next != pinned.begin() && at < std::prev(next)->first + std::prev(next)->second;
  }
} pinned_memory;

// ---- devices, streams, generators ----

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return CUDA; }
  Device exchangeDevice(Device device) const override {
    auto before = getDevice();
    setDevice(device);
    return before;
  }
  Device getDevice() const override { return {CUDA, current}; }
  void setDevice(Device device) const override {
    if (device.has_index()) current = device.index();
  }
  void uncheckedSetDevice(Device device) const noexcept override { setDevice(device); }
  c10::Stream getStream(Device device) const noexcept override {
    auto index = device.has_index() ? device.index() : current;
    return c10::Stream(c10::Stream::UNSAFE, {CUDA, index}, streams[index]);
  }
  c10::Stream getDefaultStream(Device device) const override {
    return c10::Stream(c10::Stream::DEFAULT, {CUDA, device.has_index() ? device.index() : current});
  }
  c10::Stream exchangeStream(c10::Stream stream) const noexcept override {
    auto before = getStream(stream.device());
    streams[stream.device_index()] = stream.id();
    return before;
  }
  c10::DeviceIndex deviceCount() const noexcept override { return DEVICES; }
  void record(void** event, const c10::Stream& stream, const c10::DeviceIndex,
              const c10::EventFlag) const override {
    std::lock_guard lock(order);
    if (!*event) *event = new Clock;
    *static_cast<Clock*>(*event) = clocks[key_of(stream.device_index(), stream.id())];
  }
  void block(void* event, const c10::Stream& stream) const override {
    std::lock_guard lock(order);
    if (event)
      merge(clocks[key_of(stream.device_index(), stream.id())], *static_cast<Clock*>(event));
  }
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void* event, const c10::DeviceIndex) const noexcept override {
    delete static_cast<Clock*>(event);
  }
  void recordDataPtrOnStream(const c10::DataPtr& data, const c10::Stream& stream) const override {
    std::lock_guard lock(order);
    if (data.get())
      Memory::extent_at(reinterpret_cast<uintptr_t>(data.get()), "record_stream")
          .recorded.insert(key_of(stream.device_index(), stream.id()));
  }
} const guard;
C10_REGISTER_GUARD_IMPL(CUDA, Guard)

// A generator of the CPU that says it is the device's.
struct Generator final : c10::GeneratorImpl {
  at::Generator inner;
  explicit Generator(c10::DeviceIndex index, at::Generator from = at::detail::createCPUGenerator())
      : c10::GeneratorImpl(Device(CUDA, index), c10::DispatchKeySet(c10::DispatchKey::CUDA)),
        inner(std::move(from)) {}
  void set_current_seed(uint64_t seed) override { inner.set_current_seed(seed); }
  uint64_t current_seed() const override { return inner.current_seed(); }
  uint64_t seed() override { return inner.seed(); }
  void set_offset(uint64_t) override { TORCH_CHECK(false, "no offsets here"); }
  uint64_t get_offset() const override { TORCH_CHECK(false, "no offsets here"); }
  void set_state(const c10::TensorImpl& state) override {
    inner.unsafeGetGeneratorImpl()->set_state(state);
  }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override {
    return inner.unsafeGetGeneratorImpl()->get_state();
  }
  void graphsafe_set_state(const c10::intrusive_ptr<c10::GeneratorImpl>& other) override {
    set_state(*other->get_state());
  }
  c10::intrusive_ptr<c10::GeneratorImpl> graphsafe_get_state() const override {
    return c10::make_intrusive<Generator>(device().index(), inner.clone());
  }
  Generator* clone_impl() const override {
    return new Generator(device().index(), inner.clone());
  }
};

at::Generator new_generator(c10::DeviceIndex index) {
  return at::make_generator<Generator>(index < 0 ? current : index);
}

at::Generator& generator(int64_t index) {
  static at::Generator all[DEVICES] = {new_generator(0), new_generator(1)};
  return all[index < 0 ? current : index];
}

at::Generator inner(const at::Generator& generator) {
  return static_cast<Generator*>(generator.unsafeGetGeneratorImpl())->inner;
}

}  // namespace

namespace at {

struct EmulatedHooks final : CUDAHooksInterface {
  EmulatedHooks(CUDAHooksArgs) {}
  void init() const override {}
  bool hasCUDA() const override { return true; }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  const Generator& getDefaultGenerator(DeviceIndex i) const override { return generator(i); }
  Generator getNewGenerator(DeviceIndex i) const override { return new_generator(i); }
  bool isPinnedPtr(const void* data) const override { return PinnedMemory::holds(data); }
  Allocator* getPinnedMemoryAllocator() const override { return &pinned_memory; }
  Allocator* getCUDADeviceAllocator() const override { return &memory; }
  Device getDeviceFromPtr(void*) const override { return {c10::kCUDA, current}; }
  DeviceIndex current_device() const override { return current; }
  DeviceIndex deviceCount() const override { return DEVICES; }
  DeviceIndex getCurrentDevice() const override { return current; }
  void setCurrentDevice(DeviceIndex device) const override { current = device; }
  int getNumGPUs() const override { return DEVICES; }
  void deviceSynchronize(DeviceIndex) const override { wait("synchronize"); }
};
C10_REGISTER_CLASS(CUDAHooksRegistry, CUDAHooks, EmulatedHooks)

}  // namespace at

namespace {

// ---- tensors ----

Tensor empty(c10::IntArrayRef size, std::optional<at::ScalarType> dtype,
             std::optional<at::Layout>, std::optional<Device> device, std::optional<bool>,
             std::optional<at::MemoryFormat> format) {
  c10::DeviceGuard in(device.value_or(Device(CUDA, current)));
  return at::detail::empty_generic(size, &memory, c10::DispatchKeySet(c10::DispatchKey::CUDA),
                                   c10::dtype_or_default(dtype), format);
}

Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride,
                     std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                     std::optional<Device> device, std::optional<bool>) {
  c10::DeviceGuard in(device.value_or(Device(CUDA, current)));
  return at::detail::empty_strided_generic(size, stride, &memory,
                                           c10::DispatchKeySet(c10::DispatchKey::CUDA),
                                           c10::dtype_or_default(dtype));
}

// The same memory as a tensor of the CPU; of a tensor without elements, one that can be resized.
Tensor on_cpu(const Tensor& x) {
  auto options = x.options().device(c10::kCPU);
  if (x.numel() == 0) return at::empty_strided(x.sizes(), x.strides(), options);
  auto alias = at::from_blob(x.data_ptr(), x.sizes(), x.strides(), options);
  if (x.is_conj()) alias._set_conj(true);
  if (x.is_neg()) alias._set_neg(true);
  return alias;
}

Tensor to_device(const Tensor& x, Device device) {
  auto out = at::empty_strided(x.sizes(), x.strides(), x.options().device(device));
  if (x.numel()) on_cpu(out).copy_(x);
  return out;
}

at::Scalar scalar_of(const Tensor& x) {
  c10::DeviceGuard in(x.device());
  Memory::touch(x, false, "item");
  wait("item");
  return at::_local_scalar_dense(on_cpu(x));
}

Tensor& copy(Tensor& self, const Tensor& source, bool non_blocking) {
  auto host = self.is_cuda() ? source : self;  // of a copy between host and device, the former
  auto waits = !host.is_cuda() && host.numel() && !(non_blocking && host.is_pinned());
  if (!self.numel()) return self;
  c10::DeviceGuard in(self.is_cuda() ? self.device() : source.device());
  auto to = self.is_cuda() ? on_cpu(self) : self;
  auto from = source.is_cuda() ? on_cpu(source) : source;
  auto move = [=, devices = std::pair(self.is_cuda(), source.is_cuda())]() {
    if (devices.second) Memory::touch(from, false, "aten::copy_");
    if (devices.first) Memory::touch(to, true, "aten::copy_");
    at::AutoDispatchBelowADInplaceOrView below;
    to.copy_(from);
  };
  if (capturing) {
    TORCH_CHECK(!waits, "CUDA error: operation not permitted when stream is capturing (copy)");
    capturing->names.push_back("copy_");
    capturing->steps.push_back(move);
    to.copy_(from);
    return self;
  }
  move();
  if (self.is_cpu() && self.is_pinned() && !waits) {
    auto value = from.clone();
    std::memset(to.mutable_data_ptr(), 0xff, to.nbytes());
    std::lock_guard lock(order);
    under_way.push_back({here(), known(clocks[here()], here()), [=]() { to.copy_(value); }});
  }
  if (waits) wait(self.is_cuda() ? "copy to the device" : "copy to the host");
  return self;
}

// Operations whose result's size, or whose answer, the host needs.
const std::set<std::string> WAITING = {
    "aten::nonzero", "aten::masked_select", "aten::_unique2", "aten::unique_dim",
    "aten::unique_consecutive", "aten::repeat_interleave", "aten::bincount", "aten::equal",
    "aten::is_nonzero"};
const std::set<std::string> INDEXING = {
    "aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"};

// What PyTorch refuses on a GPU under `torch.use_deterministic_algorithms`, as far as it is known to
// have no variant that gives the same bits every time.
const std::set<std::string> NONDETERMINISTIC = {
    "aten::cumsum", "aten::histc", "aten::bincount", "aten::kthvalue", "aten::median",
    "aten::put_", "aten::scatter_reduce", "aten::grid_sampler_2d_backward",
    "aten::_embedding_bag", "aten::upsample_linear1d_backward", "aten::reflection_pad1d_backward",
    "aten::replication_pad1d_backward", "aten::adaptive_avg_pool2d_backward", "aten::_ctc_loss"};
const std::set<std::string> PRODUCTS = {
    "aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::mv", "aten::addmv", "aten::dot"};

void check_deterministic(const std::string& name) {
  if (!at::globalContext().deterministicAlgorithms()) return;
  TORCH_CHECK(!NONDETERMINISTIC.count(name), name, " does not have a deterministic implementation");
  TORCH_CHECK(!PRODUCTS.count(name) || std::getenv("CUBLAS_WORKSPACE_CONFIG"),
              "CUBLAS_WORKSPACE_CONFIG has to be set");
}

struct Call {
  std::string name;
  std::vector<std::pair<Tensor, Tensor>> replaced;  // alias on the CPU, tensor on the device
  std::vector<std::pair<Tensor, bool>> touched;     // the aliases, and whether they are written to
  std::optional<Device> device;

  Tensor alias(const Tensor& x, bool writes) {
    if (!x.defined()) return x;
    if (!x.is_cuda()) {
      TORCH_CHECK(x.dim() == 0 || INDEXING.count(name), "Expected all tensors to be on the same ",
                  "device, but ", name, " got one of ", x.sizes(), " on ", x.device());
      if (x.dim()) wait(name + " with indices of the CPU");
      return x;
    }
    TORCH_CHECK(!device || *device == x.device(), "Expected all tensors to be on the same device, ",
                "but ", name, " got them on ", *device, " and ", x.device());
    device = x.device();
    if (INDEXING.count(name) && x.scalar_type() == at::kBool) wait(name + " with a mask");
    replaced.emplace_back(on_cpu(x), x);
    touched.emplace_back(replaced.back().first, writes);
    return replaced.back().first;
  }

  void touch() const {
    for (bool writes : {false, true})
      for (auto& [alias, written] : touched)
        if (written == writes) Memory::touch(alias, writes, name);
  }

  Tensor original(const Tensor& result) {
    for (auto& [alias, tensor] : replaced) {
      if (result.unsafeGetTensorImpl() != alias.unsafeGetTensorImpl()) continue;
      if (tensor.sizes() != alias.sizes() || tensor.numel() == 0) {  // it was an empty `out`
        tensor.resize_(alias.sizes());
        if (tensor.numel()) on_cpu(tensor).copy_(alias);
      }
      return tensor;
    }
    if (!result.defined()) return result;
    auto made = to_device(result, device.value_or(Device(CUDA, current)));
    if (!capturing) Memory::touch(made, true, name);
    return made;
  }
};

// Lets a graph do the same again: the same arguments in the same places, the results to theirs.
void record(const c10::OperatorHandle& op, const Call& call, c10::Stack given, c10::Stack results) {
  std::vector<Tensor> places;
  Call again{call.name, {}, {}, {}};
  for (size_t i = 0; i < call.replaced.size(); ++i)  // but for what was an empty `out`
    if (call.replaced[i].first.const_data_ptr() == call.replaced[i].second.const_data_ptr())
      again.touched.push_back(call.touched[i]);
  for (auto& value : results) {
    TORCH_CHECK(value.isTensor() || value.isTensorList(), "a graph cannot hold ", call.name);
    for (auto& x : value.isTensor() ? std::vector{value.toTensor()} : value.toTensorVector())
      places.push_back(x.defined() ? on_cpu(x) : x);
  }
  capturing->names.push_back(call.name);
  capturing->steps.push_back([=]() {
    again.touch();
    auto stack = given;
    at::AutoDispatchBelowADInplaceOrView below;
    op.callBoxed(stack);
    size_t i = 0;
    for (auto& value : stack)
      for (auto& x : value.isTensor() ? std::vector{value.toTensor()} : value.toTensorVector()) {
        auto& place = places.at(i++);
        if (!place.defined() || !place.numel() || place.data_ptr() == x.data_ptr()) continue;
        Memory::touch(place, true, again.name);
        place.copy_(x);
      }
  });
}

void compute(const c10::OperatorHandle& op, c10::Stack* stack) {
  const auto& schema = op.schema();
  Call call{schema.name(), {}, {}, {}};
  check_deterministic(call.name);
  auto arguments = torch::jit::last(stack, schema.arguments().size());
  std::vector<size_t> generators;
  for (size_t i = 0; i < arguments.size(); ++i) {
    IValue& value = stack->at(stack->size() - arguments.size() + i);
    auto* info = schema.arguments()[i].alias_info();
    bool writes = info && info->isWrite();
    if (value.isTensor()) {
      value = call.alias(value.toTensor(), writes);
    } else if (value.isTensorList()) {
      c10::List<Tensor> list;
      for (const Tensor& x : value.toTensorVector()) list.push_back(call.alias(x, writes));
      value = list;
    } else if (value.isOptionalTensorList()) {
      c10::List<std::optional<Tensor>> list;
      for (const std::optional<Tensor>& x : value.toOptionalTensorVector())
        list.push_back(x ? std::optional(call.alias(*x, writes)) : std::nullopt);
      value = list;
    } else if (value.isDevice()) {
      call.device = value.toDevice();
      value = Device(c10::kCPU);
    } else if (schema.arguments()[i].type()->str() == "Generator?" && value.isNone()) {
      generators.push_back(stack->size() - arguments.size() + i);
    } else if (value.isGenerator()) {
      TORCH_CHECK(value.toGenerator().device().is_cuda(), "Expected a 'cuda' device type for ",
                  "generator but found '", value.toGenerator().device(), "'");
      value = inner(value.toGenerator());
    }
  }
  auto index = call.device ? call.device->index() : current;
  c10::DeviceGuard in(Device(CUDA, index));
  if (!capturing) call.touch();
  if (WAITING.count(call.name)) wait(call.name);
  for (auto i : generators) stack->at(i) = inner(generator(index));
  c10::Stack given;
  if (capturing) given.assign(stack->end() - arguments.size(), stack->end());
  {
    at::AutoDispatchBelowADInplaceOrView below;
    op.callBoxed(stack);
  }
  auto count = schema.returns().size();
  for (size_t i = stack->size() - count; i < stack->size(); ++i) {
    IValue& value = stack->at(i);
    if (value.isTensor()) {
      value = call.original(value.toTensor());
    } else if (value.isTensorList()) {
      c10::List<Tensor> list;
      for (const Tensor& x : value.toTensorVector()) list.push_back(call.original(x));
      value = list;
    }
  }
  for (auto& [alias, tensor] : call.replaced)  // an empty `out` that is not returned
    if (tensor.sizes() != alias.sizes()) call.original(alias);
  if (capturing) record(op, call, given, c10::Stack(stack->end() - count, stack->end()));
}

// Draws from the device's generator, which the CPU's kernel cannot be told to.
std::tuple<Tensor, Tensor> dropout(const Tensor& x, double p, std::optional<bool> train) {
  if (!train.value_or(true)) return {x.clone(), at::ones_like(x, x.options().dtype(at::kBool))};
  auto mask = at::empty_like(x, x.options().dtype(at::kBool)).bernoulli_(1 - p);
  return {p == 1 ? at::zeros_like(x) : x * mask / (1 - p), mask};
}

const Tensor& resize(const Tensor& x, c10::IntArrayRef size, std::optional<at::MemoryFormat> f) {
  c10::DeviceGuard in(x.device());
  return at::native::resize_(x, size, f);
}

// A product in another type than its factors', for which the CPU has no kernel.
Tensor product(const Tensor& a, const Tensor& b, at::ScalarType type) {
  return at::mm(a.to(type), b.to(type));
}

// Everything as it was before a capture, which computes nothing.
struct Before {
  std::vector<std::tuple<uintptr_t, int64_t, std::vector<char>>> memory;
  std::vector<Tensor> generators;
} before_capture;

void begin_capture(int64_t graph) {
  TORCH_CHECK(!capturing, "another capture is under way");
  before_capture = {};
  for (auto& [at, extent] : Memory::blocks) {
    auto data = reinterpret_cast<char*>(at);
    before_capture.memory.emplace_back(at, extent.number,
                                       std::vector<char>(data, data + extent.size));
  }
  for (int i = 0; i < DEVICES; ++i) before_capture.generators.push_back(generator(i).get_state());
  capturing = graphs.at(graph);
}

void end_capture() {
  capturing = nullptr;
  for (auto& [at, number, bytes] : before_capture.memory)
    if (Memory::blocks.count(at) && Memory::blocks.at(at).number == number)
      std::memcpy(reinterpret_cast<void*>(at), bytes.data(), bytes.size());
  for (int i = 0; i < DEVICES; ++i) generator(i).set_state(before_capture.generators[i]);
  before_capture = {};
}

// Continues a graph's steps up to one that is Python's; where that is, or -1 at the end.
int64_t replay(int64_t graph, int64_t from) {
  auto& steps = graphs.at(graph)->steps;
  for (size_t i = from; i < steps.size(); ++i) {
    if (!steps[i]) return i;
    steps[i]();
  }
  return -1;
}

TORCH_LIBRARY_IMPL(_, CUDA, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&compute>());
}

TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  m.impl("empty.memory_format", TORCH_FN(empty));
  m.impl("empty_strided", TORCH_FN(empty_strided));
  m.impl("resize_", TORCH_FN(resize));
  m.impl("copy_", TORCH_FN(copy));
  m.impl("_local_scalar_dense", TORCH_FN(scalar_of));
  m.impl("as_strided", TORCH_FN(at::native::as_strided_tensorimpl));
  m.impl("view", TORCH_FN(at::native::view));
  m.impl("_reshape_alias", TORCH_FN(at::native::_reshape_alias));
  m.impl("set_.source_Storage",
         static_cast<Tensor& (*)(Tensor&, at::Storage)>(&at::native::set_));
  m.impl("set_.source_Storage_storage_offset", TORCH_FN(at::native::set_storage_cpu_));
  m.impl("unfold", TORCH_FN(at::native::unfold));
  m.impl("view_as_real", TORCH_FN(at::native::view_as_real));
  m.impl("view_as_complex", TORCH_FN(at::native::view_as_complex));
  m.impl("native_dropout", TORCH_FN(dropout));
  m.impl("mm.dtype", TORCH_FN(product));
}

std::map<int64_t, Clock> events;

TORCH_LIBRARY(emulated_cuda, m) {
  m.def("generator(int device) -> Generator?", [](int64_t i) { return generator(i); });
  m.def("exchange_device(int device) -> int", [](int64_t i) {
    auto before = current;
    if (i >= 0) current = static_cast<c10::DeviceIndex>(i);
    return static_cast<int64_t>(before);
  });
  m.def("new_graph() -> int", []() {
    static int64_t count = 0;
    graphs[++count] = std::make_shared<Graph>();
    return count;
  });
  m.def("free_graph(int graph) -> ()", [](int64_t graph) { graphs.erase(graph); });
  m.def("begin_capture(int graph) -> ()", &begin_capture);
  m.def("end_capture() -> ()", &end_capture);
  m.def("capturing() -> bool", []() { return capturing != nullptr; });
  m.def("forget_what_was_found() -> ()", []() { broken.clear(); });
  m.def("touch(int address) -> ()", [](int64_t address) {
    if (capturing) return;
    auto& extent = Memory::extent_at(static_cast<uintptr_t>(address), "a kernel");
    TORCH_CHECK(extent.home % DEVICES == current, "a kernel touches memory of another device");
    Memory::touch(reinterpret_cast<void*>(address), true, "a kernel");
  });
  m.def("exchange_stream(int device, int stream) -> int", [](int64_t device, int64_t stream) {
    auto before = streams[device];
    if (stream >= 0) streams[device] = stream;
    return static_cast<int64_t>(before);
  });
  m.def("record_event(int device, int stream, int event) -> ()",
        [](int64_t device, int64_t stream, int64_t event) {
          std::lock_guard lock(order);
          events[event] = clocks[key_of(device, stream)];
        });
  m.def("wait_event(int device, int stream, int event) -> ()",
        [](int64_t device, int64_t stream, int64_t event) {
          std::lock_guard lock(order);
          merge(clocks[key_of(device, stream)], events.at(event));
        });
  m.def("see_event(int event) -> ()", [](int64_t event) {
    std::lock_guard lock(order);
    host_sees(events.at(event));
  });
  m.def("free_event(int event) -> ()", [](int64_t event) {
    std::lock_guard lock(order);
    events.erase(event);
  });
  m.def("record_stream(Tensor x, int device, int stream) -> ()",
        [](Tensor x, int64_t device, int64_t stream) {
          c10::Stream on(c10::Stream::UNSAFE, Device(CUDA, device), stream);
          guard.recordDataPtrOnStream(x.storage().data_ptr(), on);
        });
  m.def("record_launch() -> ()", []() {
    capturing->steps.emplace_back();
    capturing->names.emplace_back("our kernel");
  });
  m.def("names_in_graph(int graph) -> str[]", [](int64_t graph) {
    auto& names = graphs.at(graph)->names;
    return std::vector<std::string>(names);
  });
  m.def("replay(int graph, int from_step) -> int", &replay);
  m.def("waits() -> int", []() { return waits.load(); });
  m.def("last_wait() -> str", []() { return last_wait; });
  m.def("add_wait(str what) -> ()", [](std::string what) { wait(what); });
  m.def("allocated() -> int", []() { return live.load(); });
  m.def("set_available(int bytes) -> ()", [](int64_t bytes) { available = bytes; });
}

}  // namespace
