// SPDX-License-Identifier: Apache-2.0
using HiMo.Kernels;
using static TorchSharp.torch;

namespace HiMo.Interop;

/// <summary>The numbers of one step in device memory, read when somebody asks.</summary>
/// <param name="numbers">The tensor that <see cref="GpuWorkspace.CopyResult"/> filled; owned from here on.</param>
/// <param name="read">From its values to the result.</param>
internal sealed class DeviceResult(Tensor numbers, Func<float[], MoLoResult> read)
{
    private MoLoResult? _result;

    /// <summary>Waits for the device at the first call.</summary>
    public MoLoResult Read()
    {
        lock (numbers)
        {
            if (_result is null)
            {
                using Tensor host = numbers.cpu();
                _result = read([.. host.data<float>()]);
                numbers.Dispose();
            }

            return _result.Value;
        }
    }

    /// <summary>Nobody can ask any more.</summary>
    public void Forget()
    {
        lock (numbers)
        {
            _result ??= default(MoLoResult);
            numbers.Dispose();
        }
    }
}
