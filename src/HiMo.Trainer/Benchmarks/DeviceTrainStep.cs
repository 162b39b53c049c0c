// SPDX-License-Identifier: Apache-2.0
// A whole training step on one device of libtorch's, the CPU in tests: the trainer's model and each of several losses with torch's AdamW, on images that
// stay there and token ids that come from the CPU, for how much of a step on a GPU the loss takes.
using System.Text.Json.Nodes;
using HiMo.Interop;
using HiMo.Kernels;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>Both encoders, loss, backward and AdamW on random pairs; the same step with each of several losses, in turn.</summary>
internal sealed class DeviceTrainStep : IDisposable
{
    private const double LearningRate = 1e-6;
    private const double WeightDecay = 0.01;
    private const double LossTolerance = 1e-3;

    private readonly Device _device;
    private readonly ClipModel _model;
    private readonly OptimizerHelper _optimizer;
    private readonly Tensor _images;
    private readonly Tensor _ids;
    private readonly int _rows;
    private readonly (string Name, nn.Module<Tensor, Tensor, Tensor, Tensor> Loss)[] _losses;

    /// <summary>Makes model and batch there.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="rows">Pairs in a step.</param>
    /// <param name="device">Where everything lies, from <see cref="TorchDevice.Open"/>.</param>
    /// <param name="precision">Of the encoders' products; parameters, features and loss are in float32.</param>
    public DeviceTrainStep(ClipConfig config, int rows, Device device, Precision precision)
    {
        (_device, _rows) = (device, rows);
        _model = ClipModel.Create(config, seed: 1).to(_device);
        _model.ProductType = BatchGradient.ProductType(precision);
        TrainingBatch batch = TrainStepBenchmark.RandomPairs(config, rows);
        _images = batch.Images(config.ImageResolution, _device);
        _ids = tensor(batch.Ids, [rows, config.ContextLength]);
        _optimizer = optim.AdamW(_model.parameters(), lr: LearningRate, weight_decay: WeightDecay);
        _losses =
        [
            ("ours", new MoLoLoss()), ("plain_svd", new PlainMoLoLoss()), ("plain_eigh", new PlainMoLoLoss(method: PlainMethod.Eigh)),
            ("plain_infonce", new PlainMoLoLoss(new MoLoOptions { Lambda = 0.0 }, PlainMethod.Eigh)),
        ];
    }

    /// <summary>Times the step with each loss, then each loss alone, forward and backward on the features of the last step.</summary>
    /// <param name="seconds">For the steps, and again for the losses.</param>
    /// <param name="cancel">Stops between steps.</param>
    /// <returns>The version of torch; for each loss: value, milliseconds of the step and of the loss (medians), its share, pairs a second; on CUDA the device memory in use.</returns>
    /// <exception cref="InvalidOperationException">The three forms of the loss do not agree.</exception>
    public JsonObject Measure(double seconds, CancellationToken cancel)
    {
        (Tensor images, Tensor texts) = Features();
        using (images)
        using (texts)
        {
            double[] values = [.. _losses.Select(each => Alone(each.Loss, images, texts))];
            if (!values[1..3].All(plain => Math.Abs(plain - values[0]) <= LossTolerance * Math.Max(Math.Abs(plain), 1.0)))
            {
                throw new InvalidOperationException($"bench train-step: the loss is {values[0]} here, {values[1]} and {values[2]} in plain operations");
            }

            Timing[] steps = InterleavedTiming.Run(seconds, 3, cancel, [.. _losses.Select<(string, nn.Module<Tensor, Tensor, Tensor, Tensor> Loss), Action>(each => () => Step(each.Loss))]);
            Timing[] alone = InterleavedTiming.Run(seconds, 3, cancel, [.. _losses.Select<(string, nn.Module<Tensor, Tensor, Tensor, Tensor> Loss), Action>(each => () => Alone(each.Loss, images, texts))]);
            JsonObject result = new() { ["torch"] = TorchChecks.Version };
            for (int i = 0; i < _losses.Length; i++)
            {
                result[_losses[i].Name] = new JsonObject
                {
                    ["loss"] = values[i],
                    ["step_ms"] = steps[i].Median,
                    ["loss_ms"] = alone[i].Median,
                    ["loss_share"] = alone[i].Median / steps[i].Median,
                    ["pairs_per_second"] = 1000.0 * _rows / steps[i].Median,
                };
            }

            if (_device.type == DeviceType.CUDA)
            {
                CudaDriver.MemoryInfo(out nint free, out nint total).ThrowIfFailed();
                result["device_bytes_in_use"] = total - free;
            }

            return result;
        }
    }

    public void Dispose()
    {
        Array.ForEach(_losses, each => each.Loss.Dispose());
        _optimizer.Dispose();
        _ids.Dispose();
        _images.Dispose();
        _model.Dispose();
    }

    /// <summary>One step, and the wait for its end.</summary>
    private void Step(nn.Module<Tensor, Tensor, Tensor, Tensor> module)
    {
        using DisposeScope scope = NewDisposeScope();
        _optimizer.zero_grad();
        Tensor loss = module.forward(_model.EncodeImage(_images), _model.EncodeText(_ids), _model.LogitScale);
        loss.backward();
        _ = _optimizer.step();
        Wait();
    }

    /// <summary>The loss and its gradients from given features.</summary>
    private double Alone(nn.Module<Tensor, Tensor, Tensor, Tensor> module, Tensor images, Tensor texts)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor v = images.detach().requires_grad_(), u = texts.detach().requires_grad_(), scale = _model.LogitScale.detach().requires_grad_();
        Tensor loss = module.forward(v, u, scale);
        loss.backward();
        Wait();
        return loss.item<float>();
    }

    private (Tensor Images, Tensor Texts) Features()
    {
        using IDisposable constant = no_grad();
        return (_model.EncodeImage(_images), _model.EncodeText(_ids));
    }

    private void Wait()
    {
        if (_device.type == DeviceType.CUDA)
        {
            cuda.synchronize(_device);
        }
    }
}
