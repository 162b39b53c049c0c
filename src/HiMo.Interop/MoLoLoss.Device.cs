// SPDX-License-Identifier: Apache-2.0
// The loss of tensors in device memory: used where they lie, on libtorch's current stream, without waiting for it.
// State      Run on an H200 with the libtorch of Python's torch 2.11.0+cu130: MoLoLossCudaTests. Other tests put ILGPU's emulation in the
//            place of the device, with the tensors in the process's memory: all but the opening of the device and the stream is the same code.
using HiMo.Kernels;
using ILGPU.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Interop;

public sealed partial class MoLoLoss
{
    private readonly Gpu? _emulated;
    private readonly Lazy<DeviceSteps> _deviceSteps;

    /// <summary>A loss that takes CPU tensors for tensors of an emulated device.</summary>
    internal MoLoLoss(MoLoOptions options, Gpu emulated, GpuPrecision precision = GpuPrecision.Strict)
        : this(options, threads: 1, precision) =>
        _emulated = emulated;

    private bool IsOnDevice(Tensor tensor) => _emulated is not null || tensor.device_type == TorchSharp.DeviceType.CUDA;

    private Tensor ForwardOnDevice(Tensor images, Tensor texts, Tensor logitScale)
    {
        Features.CheckDevice(texts, images.device);
        Features.CheckDevice(logitScale, images.device);
        Features.CheckOneElement(logitScale);
        (Gpu gpu, AcceleratorStream stream) = _emulated is not null
            ? (_emulated, _emulated.WrapStream(0))
            : OpenCuda(images.device_index);

        using DisposeScope scope = NewDisposeScope();
        bool recording = is_grad_enabled();
        bool imagesNeed = recording && images.requires_grad, textsNeed = recording && texts.requires_grad;
        bool scaleNeeds = recording && logitScale.requires_grad;
        Tensor imageRows = TensorMemory.RowMajorFloat32(images), textRows = TensorMemory.RowMajorFloat32(texts);
        Tensor scale = TensorMemory.RowMajorFloat32(logitScale);
        Tensor? gradImages = imagesNeed ? NewGradient(images) : null, gradTexts = textsNeed ? NewGradient(texts) : null;
        Tensor numbers = empty(GpuWorkspace.ResultLength, ScalarType.Float32, images.device);
        MatrixShape shape = new((int)images.size(0), (int)images.size(1));
        _deviceSteps.Value.Use(gpu, stream, shape, (step, workspace) =>
        {
            step.Run(
                TensorMemory.Wrap(gpu, imageRows, shape), TensorMemory.Wrap(gpu, textRows, shape), TensorMemory.Wrap(gpu, scale, new MatrixShape(1, 1)),
                TensorMemory.Wrap(gpu, gradImages, shape), TensorMemory.Wrap(gpu, gradTexts, shape), workspace, stream);
            workspace.CopyResult(stream, TensorMemory.Wrap(gpu, numbers, new MatrixShape(1, GpuWorkspace.ResultLength)));
        });

        using IDisposable constant = no_grad();
        Tensor loss = Number(GpuWorkspace.ResultLoss).to(images.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32);
        Tensor? gradScale = scaleNeeds ? Number(GpuWorkspace.ResultGradLogitScale).reshape(logitScale.shape) : null;
        _last?.OnDevice?.Forget();
        _last = new Evaluation(default, [], new DeviceResult(numbers.DetachFromDisposeScope(), values =>
        {
            MoLoResult result = GpuWorkspace.ToResult(values, _options, shape);
            _warnings.Tell(result.Warnings, Math.Max(result.M, result.MImage), result.RelativeGap, _options.Tau);
            return result;
        }));
        if (!imagesNeed && !textsNeed && !scaleNeeds)
        {
            return loss.MoveToOuterDisposeScope();
        }

        using IDisposable recorded = enable_grad();
        return MoLoFunction.Link([Relay(images), Relay(texts), logitScale], loss, [gradImages, gradTexts, gradScale]).MoveToOuterDisposeScope();

        Tensor Number(int index) => numbers.narrow(0, index, 1).reshape([]).clone();       // a copy: the numbers may be freed first
    }

    private static (Gpu Gpu, AcceleratorStream Stream) OpenCuda(int device)
    {
        Gpu gpu = Gpu.OpenCuda(device);
        return (gpu, gpu.WrapStream(TorchCuda.CurrentStream(device)));
    }
}
