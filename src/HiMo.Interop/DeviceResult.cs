// SPDX-License-Identifier: Apache-2.0
using static TorchSharp.torch;

namespace HiMo.Interop;

/// <summary>The numbers of one call in device memory, read when somebody asks.</summary>
/// <param name="numbers">The tensor that the workspace's numbers were copied to; owned from here on.</param>
/// <param name="read">From its values to the result.</param>
internal sealed class DeviceResult<T>(Tensor numbers, Func<float[], T> read)
    where T : struct
{
    private T? _result;

    /// <summary>Waits for the device at the first call.</summary>
    public T Read()
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
            _result ??= default(T);
            numbers.Dispose();
        }
    }
}
