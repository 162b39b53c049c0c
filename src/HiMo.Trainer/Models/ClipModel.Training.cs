// SPDX-License-Identifier: Apache-2.0
using static TorchSharp.torch;

namespace HiMo.Trainer;

public sealed partial class ClipModel
{
    private ScalarType? _productType;

    /// <summary>
    /// The type that both operands of every matrix product and of the attention are converted to; null computes in the parameters' type. Parameters,
    /// the residual stream, normalisations and features keep theirs, as under torch's autocast, which TorchSharp lacks.
    /// </summary>
    internal ScalarType? ProductType
    {
        get => _productType;
        set
        {
            _productType = value;
            foreach (Layer layer in modules().OfType<Layer>())
            {
                layer.ProductType = value;
            }
        }
    }

    /// <summary>Where blocks are computed again in the backward pass; null keeps what is inside them.</summary>
    internal ActivationTape? Tape
    {
        get => _transformer.Tape;
        set
        {
            foreach (TransformerLayer layer in modules().OfType<TransformerLayer>())
            {
                layer.Tape = value;
            }
        }
    }
}
