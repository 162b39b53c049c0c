// SPDX-License-Identifier: Apache-2.0
// HiDe of tensors in device memory: used where they lie, on libtorch's current stream, without waiting for it.
// State      The kernels have run on an H200 (HiDeGpuTests), this face of them has not: tests put ILGPU's emulation in the place of the device, with
//            the tensors in the process's memory; all but the opening of the device and the stream is the same code.
using HiMo.Kernels;
using ILGPU.Runtime;
using static TorchSharp.torch;

namespace HiMo.Interop;

public sealed partial class HiDeComponents
{
    private const int IdleWorkspaces = 8;

    private readonly Gpu? _emulated;
    private readonly Lazy<HiDe> _deviceHiDe;
    private readonly DevicePool<MatrixShape, HiDeGpuWorkspace> _workspaces = new(IdleWorkspaces);

    /// <summary>A module that takes CPU tensors for tensors of an emulated device.</summary>
    internal HiDeComponents(double tau, BasisGradient basisGradient, Gpu emulated)
        : this(tau, basisGradient, threads: 1) =>
        _emulated = emulated;

    /// <summary>Enqueues u'.</summary>
    /// <returns>dL/dtexts from the rows and dL/du'.</returns>
    private Func<Tensor, Tensor, Tensor> ForwardOnDevice(Tensor rows, Tensor components)
    {
        Tensor numbers = empty(HiDeGpuWorkspace.ResultLength, ScalarType.Float32, rows.device);
        DeviceCall used = Use(rows, (call, workspace) =>
        {
            call.Hide.Forward(call.View(rows), call.View(components), workspace, call.Stream);
            workspace.CopyResult(call.Stream, TensorMemory.Wrap(call.Gpu, numbers, new MatrixShape(1, HiDeGpuWorkspace.ResultLength)));
        });
        _last?.OnDevice?.Forget();
        _last = new Evaluation(default, [], new DeviceResult<HiDeResult>(
            numbers.DetachFromDisposeScope(), used.Gpu, $"HiDeComponents with {used.Shape} features", words => Told(HiDeGpuWorkspace.ToResult(words, used.Shape))));
        return BackwardOnDevice;
    }

    /// <summary>dL/dtexts; NaN in gives NaN out.</summary>
    private Tensor BackwardOnDevice(Tensor rows, Tensor gradComponents)
    {
        Tensor outer = TensorMemory.RowsOnDevice(gradComponents), gradTexts = Float32Like(rows), components = Float32Like(rows);
        _ = Use(rows, (call, workspace) =>
        {
            call.Hide.Forward(call.View(rows), call.View(components), workspace, call.Stream);
            call.Hide.Backward(call.View(rows), call.View(outer), call.View(gradTexts), workspace, call.Stream);
        });
        return gradTexts;
    }

    private static Tensor Float32Like(Tensor rows) => empty(rows.size(0), rows.size(1), ScalarType.Float32, rows.device);

    private DeviceCall Use(Tensor rows, Action<DeviceCall, HiDeGpuWorkspace> run)
    {
        (Gpu gpu, AcceleratorStream stream) = TorchStream.Of(rows, _emulated);
        DeviceCall call = new(_deviceHiDe.Value, gpu, stream, new MatrixShape((int)rows.size(0), (int)rows.size(1)));
        _workspaces.Use(stream, call.Shape, () => call.Hide.CreateWorkspace(gpu, call.Shape), workspace => run(call, workspace));
        return call;
    }

    private sealed record DeviceCall(HiDe Hide, Gpu Gpu, AcceleratorStream Stream, MatrixShape Shape)
    {
        public GpuMatrix View(Tensor matrix) => TensorMemory.Wrap(Gpu, matrix, Shape);
    }
}
