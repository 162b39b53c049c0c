// SPDX-License-Identifier: Apache-2.0
using HiMo.Kernels;
using ILGPU.Runtime;
using static TorchSharp.torch;

namespace HiMo.Interop;

/// <summary>The device of tensors, with libtorch's current stream there; an emulated device where a test has put one in its place.</summary>
/// <param name="Gpu">The device.</param>
/// <param name="Stream">Orders the work against libtorch's.</param>
internal readonly record struct TorchStream(Gpu Gpu, AcceleratorStream Stream)
{
    /// <summary>Whether tensors of a device are for a GPU's kernels.</summary>
    /// <param name="tensor">Any tensor.</param>
    /// <param name="emulated">The emulated device whose memory CPU tensors stand for, or null.</param>
    public static bool IsOnDevice(Tensor tensor, Gpu? emulated) => emulated is not null || tensor.device_type == TorchSharp.DeviceType.CUDA;

    /// <summary>Opens the device of a tensor.</summary>
    /// <param name="tensor">One for which <see cref="IsOnDevice"/> holds.</param>
    /// <param name="emulated">As there.</param>
    /// <exception cref="GpuException">The device cannot run the kernels, or libtorch does not name its stream.</exception>
    public static TorchStream Of(Tensor tensor, Gpu? emulated)
    {
        if (emulated is not null)
        {
            return new TorchStream(emulated, emulated.WrapStream(0));
        }

        Gpu gpu = Gpu.OpenCuda(tensor.device_index);
        return new TorchStream(gpu, gpu.WrapStream(TorchCuda.CurrentStream(tensor.device_index)));
    }
}
