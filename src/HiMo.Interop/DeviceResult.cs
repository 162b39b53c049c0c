// SPDX-License-Identifier: Apache-2.0
using HiMo.Kernels;
using static TorchSharp.torch;

namespace HiMo.Interop;

/// <summary>The numbers of one call in device memory, read when somebody asks.</summary>
/// <param name="numbers">The tensor that the workspace's numbers were copied to; owned from here on.</param>
/// <param name="gpu">Where it is.</param>
/// <param name="call">Names the call and its shape.</param>
/// <param name="read">From its values to the result.</param>
internal sealed class DeviceResult<T>(Tensor numbers, Gpu gpu, string call, Func<float[], T> read)
    where T : struct
{
    private T? _result;

    /// <summary>Waits for the device at the first call.</summary>
    /// <exception cref="GpuException">The copy failed, or work before it.</exception>
    public T Read()
    {
        lock (numbers)
        {
            if (_result is null)
            {
                _result = read(Fetch());
                numbers.Dispose();
            }

            return _result.Value;
        }
    }

    // An error of the device shows here, as libtorch's exception, which knows neither kernel nor shape.
    private float[] Fetch()
    {
        try
        {
            using Tensor host = numbers.cpu();
            return [.. host.data<float>()];
        }
        catch (Exception failure)
        {
            throw new GpuException($"{call}: {gpu.ReadFailed(failure).Message}", failure);
        }
    }

    /// <summary>Nobody can ask any more.</summary>
    public void Forget()
    {
        lock (numbers)
        {
            _result ??= default(T);
            numbers.Dispose();
        }
    }
}
