#include "twingrad/training/trainer.h"

#include <ATen/Dispatch.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "twingrad/compare/comparison.h"
#include "twingrad/compare/distance.h"
#include "twingrad/mlp/dropout_masks.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/monotonic_clock.h"
#include "twingrad/training/gradient_exchange.h"
#include "twingrad/training/test_examination.h"

namespace twingrad {
namespace {

constexpr std::int64_t kEvaluationBatch = 1000;
/// The most rows of a batch that are compared: enough for several blocks per thread.
constexpr std::int64_t kMostComparedRows = 2048;

/// The number of rows of the logits [B, C] whose first maximum is at their label. The four equivalent tensor
/// operations would add 5 µs to the 50 µs of a step at batch size 16, while other threads wait.
std::int64_t count_correct(const at::Tensor& logits, const at::Tensor& labels) {
  const at::Tensor rows = logits.contiguous();
  const auto* label = labels.data_ptr<std::int64_t>();
  std::int64_t correct = 0;
  AT_DISPATCH_FLOATING_TYPES(rows.scalar_type(), "count_correct", [&] {
    const auto* row = rows.data_ptr<scalar_t>();
    const std::int64_t classes = rows.size(1);
    for (std::int64_t i = 0; i < rows.size(0); ++i, row += classes) {
      correct += std::max_element(row, row + classes) - row == label[i] ? 1 : 0;
    }
  });
  return correct;
}

bool is_finite(const at::Tensor& tensor) { return tensor.isfinite().all().item<bool>(); }

std::string first_non_finite(const std::vector<NamedTensor>& tensors) {
  for (const auto& [name, tensor] : tensors) {
    if (tensor.defined() && !is_finite(tensor)) {
      return name;
    }
  }
  return "";
}

}  // namespace

Trainer::Trainer(const MlpSpec& spec, const std::vector<Twin*>& twins, const data::ImageTensors& train,
                 const data::ImageTensors& test, const TrainingOptions& options,
                 const std::vector<TrainingObserver*>& observers, ProcessGroup* group)
    : spec_(spec),
      twins_(twins),
      train_(train),
      test_(test),
      options_(options),
      observers_(observers),
      is_on_gpu_(options.device.is_cuda()),
      clock_(options.device) {
  if (group != nullptr) {
    exchange_ = std::make_unique<GradientExchange>(*group, spec, twins);
  }
  const auto floats = at::TensorOptions().dtype(options.dtype).device(options.device);
  const auto integers = at::TensorOptions().dtype(at::kLong).device(options.device);
  images_ = at::empty({0}, floats);
  labels_ = at::empty({0}, integers);
  test_images_ = at::empty({0}, floats);
  test_labels_ = at::empty({0}, integers);
  for (std::size_t i = 0; is_on_gpu_ && i < twins_.size(); ++i) {
    sums_on_gpu_.push_back({at::zeros({}, floats.dtype(at::kDouble)), at::zeros({}, integers)});
  }
}

Trainer::~Trainer() = default;

TrainingResult Trainer::run(const std::atomic<bool>& stop, TrainingProgress from) {
  progress_ = std::move(from);
  progress_.result.interrupted = false;
  stop_ = &stop;
  run_start_ = monotonic_seconds();
  samples_at_start_ = samples_done();
  if (progress_.result.steps == 0) {
    save();
  }
  try {
    while (progress_.epoch <= options_.epochs && !progress_.result.interrupted) {
      run_epoch();
    }
  } catch (const RankLost&) {
    save();
    throw;
  }
  return progress_.result;
}

double Trainer::samples_done() const {
  return static_cast<double>(progress_.epoch - 1) * static_cast<double>(train_.count()) +
         static_cast<double>(progress_.samples_done);
}

void Trainer::run_epoch() {
  const std::int64_t epoch = progress_.epoch;
  const bool is_reported = epoch == 1 || epoch == options_.epochs || epoch % options_.evaluate_every == 0;
  const std::int64_t count = train_.count();
  if (progress_.samples_done == 0) {
    progress_.tallies.assign(twins_.size(), {});
  }

  seconds_of_gather_.clear();
  for (std::size_t i = 0; i < twins_.size(); ++i) {
    seconds_of_gather_.push_back(&progress_.tallies[i].seconds);
    if (!is_on_gpu_) {
      seconds_of_gather_.push_back(&progress_.result.seconds_by_part[twins_[i]->name()].gather);
    }
  }
  clock_.start();
  at::Tensor order = options_.batch_size == 0 ? at::arange(count, at::kLong)
                                              : data::shuffled_indices(count, options_.seed, epoch);
  order = order.to(options_.device);  // once: a copy at each step would wait for the GPU
  clock_.stop(seconds_of_gather_);
  while (progress_.samples_done < count) {
    const std::int64_t first = progress_.samples_done;
    const std::int64_t size = std::min(batch_size(), count - first);
    const bool is_last = first + size == count;
    step(order.narrow(0, first, size), is_last && is_reported);
    progress_.samples_done += size;
    report_progress();
    if (is_last) {
      break;  // its checkpoint follows the report
    }
    if (options_.checkpoint_every > 0 && progress_.result.steps % options_.checkpoint_every == 0) {
      save();
    }
    if (is_stopping()) {
      progress_.result.interrupted = true;
      save();
      return;
    }
  }
  read_gpu();
  for (std::size_t i = 0; i < twins_.size(); ++i) {
    progress_.result.seconds[twins_[i]->name()] += progress_.tallies[i].seconds;
  }
  if (is_reported) {
    report_epoch();
  }
  ++progress_.epoch;
  progress_.samples_done = 0;
  const bool is_end = epoch == options_.epochs;
  const bool stops = is_stopping();
  progress_.result.interrupted = stops && !is_end;
  if (options_.checkpoint_every == 0 || is_end || stops ||
      progress_.result.steps % options_.checkpoint_every == 0) {
    save();
  }
}

void Trainer::save() {
  read_gpu();
  for (const Twin* twin : twins_) {
    const std::string tensor = first_non_finite(twin->parameters());
    if (!tensor.empty()) {
      throw CheckFailed(fmt::format(
          "step {}: the update of the {} twin produced an entry in {} that is not finite; a smaller --lr "
          "may help",
          progress_.result.steps, twin->name(), tensor));
    }
  }
  for (TrainingObserver* observer : observers_) {
    observer->on_checkpoint(progress_);
  }
}

void Trainer::prepare_step(const at::Tensor& indices) {
  const Range rows = exchange_ ? exchange_->rows_of(indices.size(0)) : Range{0, indices.size(0)};
  if (!holds_full_batch_) {
    train_.gather(indices.narrow(0, rows.first, rows.size), images_, labels_);
    holds_full_batch_ = options_.batch_size == 0;
  }
  masks_ = draw_dropout_masks(spec_, indices.size(0), options_.seed, progress_.result.steps);
  for (at::Tensor& mask : masks_) {
    mask = mask.narrow(0, rows.first, rows.size);
    mask = is_on_gpu_ ? mask.pin_memory().to(options_.device, /*non_blocking=*/true) : mask;
  }
  const std::int64_t steps_per_epoch = (train_.count() + batch_size() - 1) / batch_size();
  const double rate = learning_rate_at(options_.schedule, options_.lr, progress_.result.steps,
                                       steps_per_epoch, steps_per_epoch * options_.epochs);
  for (Twin* twin : twins_) {
    if (options_.schedule.kind != ScheduleOptions::Kind::constant || options_.schedule.warm_up > 0) {
      twin->set_lr(rate);
    }
  }
}

void Trainer::step(const at::Tensor& indices, bool is_reported) {
  const std::int64_t steps = progress_.result.steps;
  clock_.start();
  prepare_step(indices);
  clock_.stop(seconds_of_gather_);
  const bool compares =
      twins_.size() == 2 &&
      (is_reported || steps == 0 || (options_.compare_every > 0 && steps % options_.compare_every == 0));
  std::vector<StepResult> results;
  bool compared = false;
  try {
    compared = compares && compare();
    results = compute_gradients(indices.size(0));
  } catch (const CheckFailed&) {
    if (exchange_) {
      exchange_->announce_failure();
    }
    throw;
  }
  if (exchange_) {
    exchange(indices.size(0), results);
  }
  if (compared) {
    report_comparison(is_reported);
  }
  for (std::size_t i = 0; i < twins_.size(); ++i) {
    Tally& tally = progress_.tallies[i];
    tally.loss_sum += results[i].loss * static_cast<double>(indices.size(0));
    tally.correct += results[i].correct;
    tally.samples += indices.size(0);
    clock_.start();
    twins_[i]->update();
    const double seconds = clock_.stop({&tally.seconds});
    if (!is_on_gpu_) {
      progress_.result.seconds_by_part[twins_[i]->name()].optimizer += seconds;
    }
  }
  ++progress_.result.steps;
}

std::vector<StepResult> Trainer::compute_gradients(std::int64_t batch) {
  std::vector<StepResult> results(twins_.size());
  const bool has_rows = images_.size(0) > 0;  // false for a rank in a batch of fewer rows than ranks
  for (std::size_t i = 0; i < twins_.size() && has_rows; ++i) {
    twins_[i]->set_dropout_masks(masks_);
    if (is_on_gpu_) {
      enqueue_gradients(i, batch);
    } else {
      results[i] = compute_gradients(*twins_[i], progress_.tallies[i]);
    }
  }
  return results;
}

StepResult Trainer::compute_gradients(Twin& twin, Tally& tally) {
  clock_.start();
  const double loss = twin.compute_gradients(images_, labels_);
  const double seconds = clock_.stop({&tally.seconds});
  StepSeconds& parts = progress_.result.seconds_by_part[twin.name()];
  parts.forward += twin.seconds_in_forward();
  parts.backward += seconds - twin.seconds_in_forward();
  check_finite(twin, loss);
  return {loss, count_correct(twin.logits(), labels_)};
}

void Trainer::enqueue_gradients(std::size_t index, std::int64_t rows) {
  Twin& twin = *twins_[index];
  clock_.start();
  const at::Tensor loss = twin.enqueue_gradients(images_, labels_);
  clock_.stop({&progress_.tallies[index].seconds});
  const c10::NoGradGuard no_grad;
  sums_on_gpu_[index].loss.add_(loss, rows);
  sums_on_gpu_[index].correct.add_((twin.logits().argmax(1) == labels_).sum());
}

void Trainer::read_gpu() {
  if (!is_on_gpu_) {
    return;
  }
  clock_.read();
  for (std::size_t i = 0; i < twins_.size() && i < progress_.tallies.size(); ++i) {
    auto& [loss, correct] = sums_on_gpu_[i];
    const double loss_sum = loss.item<double>();
    check_finite(*twins_[i], loss_sum);
    progress_.tallies[i].loss_sum += loss_sum;
    progress_.tallies[i].correct += correct.item<std::int64_t>();
    loss.zero_();
    correct.zero_();
  }
}

void Trainer::exchange(std::int64_t batch, std::vector<StepResult>& results) {
  clock_.start();
  is_stopping_ = exchange_->sum(labels_, batch, *stop_, results);
  const double seconds = clock_.stop({&progress_.result.exchange_seconds});
  for (std::size_t i = 0; i < twins_.size(); ++i) {  // one exchange serves all twins
    const double part = seconds / static_cast<double>(twins_.size());
    progress_.tallies[i].seconds += part;
    progress_.result.seconds_by_part[twins_[i]->name()].optimizer += part;
  }
}

bool Trainer::is_stopping() const { return exchange_ ? is_stopping_ : stop_->load(); }

void Trainer::check_finite(Twin& twin, double loss) const {
  if (std::isfinite(loss)) {
    return;
  }
  std::string tensor = first_non_finite(twin.parameters());
  if (tensor.empty()) {
    if (twin.intermediates().empty()) {  // compute_gradients does not keep them
      twin.forward(images_, labels_);
    }
    tensor = first_non_finite(twin.intermediates());
  }
  throw CheckFailed(
      fmt::format("{}: the loss of the {} twin is {}; the first tensor with such an entry is {}; "
                  "a smaller --lr, --init uniform or --loss cross_entropy may help",
                  is_on_gpu_ ? fmt::format("at or before step {}", progress_.result.steps)
                             : fmt::format("step {}", progress_.result.steps + 1),
                  twin.name(), std::isnan(loss) ? "not a number" : "infinite",
                  tensor.empty() ? "the loss itself" : tensor));
}

bool Trainer::compare() {
  if (!comparer_) {
    comparer_ = std::make_unique<TwinComparer>(*twins_[1], *twins_[0]);
  }
  const std::int64_t rows = std::min(images_.size(0), kMostComparedRows);
  if (rows == 0) {
    return false;
  }
  Batch batch{.images = images_.narrow(0, 0, rows), .labels = labels_.narrow(0, 0, rows)};
  for (const at::Tensor& mask : masks_) {
    batch.masks.push_back(mask.narrow(0, 0, rows));
  }
  const Comparison comparison = comparer_->compare(batch);
  if (!comparison.is_finite) {
    return false;  // the step itself reports it
  }
  Agreement agreement = agreement_of(comparison);
  agreement.epoch = progress_.epoch;
  agreement.step = progress_.result.steps;
  agreement.max_abs_weight_difference = compare_weights(*twins_[0], *twins_[1]).absolute;
  if (!comparison.passed() && !comparison.is_empty()) {
    agreement.epoch = agreement.step == 0 ? 0 : agreement.epoch;
    report(agreement);
    throw CheckFailed(describe_disagreement(comparison, agreement.step));
  }
  agreement_ = std::move(agreement);
  return true;
}

std::vector<Trainer::Evaluation> Trainer::evaluate() {
  const c10::NoGradGuard no_grad;
  for (Twin* twin : twins_) {
    twin->eval();
  }
  std::vector<Tally> tallies(twins_.size());
  TestExamination examination(spec_, twins_);
  for (std::int64_t first = 0; first < test_.count(); first += kEvaluationBatch) {
    const std::int64_t size = std::min(kEvaluationBatch, test_.count() - first);
    test_.gather(at::arange(first, first + size, at::kLong), test_images_, test_labels_);
    std::vector<at::Tensor> logits;
    for (std::size_t i = 0; i < twins_.size(); ++i) {
      const double loss = twins_[i]->forward(test_images_, test_labels_);
      check_finite(*twins_[i], loss);
      tallies[i].loss_sum += loss * static_cast<double>(size);
      logits.push_back(twins_[i]->logits());
    }
    const std::vector<std::int64_t> correct = examination.add(logits, test_labels_, first);
    for (std::size_t i = 0; i < twins_.size(); ++i) {
      tallies[i].correct += correct[i];
    }
  }
  for (Twin* twin : twins_) {
    twin->train();
  }
  std::vector<Evaluation> evaluations;
  const auto count = static_cast<double>(test_.count());
  for (const Tally& tally : tallies) {
    evaluations.push_back({tally.loss_sum / count, static_cast<double>(tally.correct) / count});
  }
  test_results_ = examination.results(progress_.epoch);
  return evaluations;
}

}  // namespace twingrad
