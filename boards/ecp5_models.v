// Behavioural models of the ECP5 cells that Yosys' own cell library only declares: MULT18X18D and
// DP16KD. Written from Lattice FPGA-TN-02205 (sysDSP usage guide) and FPGA-TN-02204 (memory usage
// guide); plain Verilog-2001, for Verilator and Icarus.

// 18 x 18 multiplier. Registers in front of A and B, between the halves of the multiplication
// (pipeline) and behind it (output); each has a clock CLK0..CLK3 or NONE, an enable CE0..CE3 and a
// reset RST0..RST3, which is synchronous or not (RESETMODE). Reset has priority over enable.
// SIGNEDA and SIGNEDB travel with their operands. SOURCEA, SOURCEB take the operand from the
// neighbour's shift output. C and its register feed no product.
module MULT18X18D(
  input A0, A1, A2, A3, A4, A5, A6, A7, A8, A9, A10, A11, A12, A13, A14, A15, A16, A17,
  input B0, B1, B2, B3, B4, B5, B6, B7, B8, B9, B10, B11, B12, B13, B14, B15, B16, B17,
  input C0, C1, C2, C3, C4, C5, C6, C7, C8, C9, C10, C11, C12, C13, C14, C15, C16, C17,
  input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
  input CLK0, CLK1, CLK2, CLK3, CE0, CE1, CE2, CE3, RST0, RST1, RST2, RST3,
  input SRIA0, SRIA1, SRIA2, SRIA3, SRIA4, SRIA5, SRIA6, SRIA7, SRIA8, SRIA9, SRIA10, SRIA11,
  input SRIA12, SRIA13, SRIA14, SRIA15, SRIA16, SRIA17,
  input SRIB0, SRIB1, SRIB2, SRIB3, SRIB4, SRIB5, SRIB6, SRIB7, SRIB8, SRIB9, SRIB10, SRIB11,
  input SRIB12, SRIB13, SRIB14, SRIB15, SRIB16, SRIB17,
  output SROA0, SROA1, SROA2, SROA3, SROA4, SROA5, SROA6, SROA7, SROA8, SROA9, SROA10, SROA11,
  output SROA12, SROA13, SROA14, SROA15, SROA16, SROA17,
  output SROB0, SROB1, SROB2, SROB3, SROB4, SROB5, SROB6, SROB7, SROB8, SROB9, SROB10, SROB11,
  output SROB12, SROB13, SROB14, SROB15, SROB16, SROB17,
  output ROA0, ROA1, ROA2, ROA3, ROA4, ROA5, ROA6, ROA7, ROA8, ROA9, ROA10, ROA11,
  output ROA12, ROA13, ROA14, ROA15, ROA16, ROA17,
  output ROB0, ROB1, ROB2, ROB3, ROB4, ROB5, ROB6, ROB7, ROB8, ROB9, ROB10, ROB11,
  output ROB12, ROB13, ROB14, ROB15, ROB16, ROB17,
  output ROC0, ROC1, ROC2, ROC3, ROC4, ROC5, ROC6, ROC7, ROC8, ROC9, ROC10, ROC11,
  output ROC12, ROC13, ROC14, ROC15, ROC16, ROC17,
  output P0, P1, P2, P3, P4, P5, P6, P7, P8, P9, P10, P11, P12, P13, P14, P15, P16, P17,
  output P18, P19, P20, P21, P22, P23, P24, P25, P26, P27, P28, P29, P30, P31, P32, P33, P34, P35,
  output SIGNEDP
);
  parameter REG_INPUTA_CLK = "NONE";
  parameter REG_INPUTA_CE = "CE0";
  parameter REG_INPUTA_RST = "RST0";
  parameter REG_INPUTB_CLK = "NONE";
  parameter REG_INPUTB_CE = "CE0";
  parameter REG_INPUTB_RST = "RST0";
  parameter REG_INPUTC_CLK = "NONE";
  parameter REG_INPUTC_CE = "CE0";
  parameter REG_INPUTC_RST = "RST0";
  parameter REG_PIPELINE_CLK = "NONE";
  parameter REG_PIPELINE_CE = "CE0";
  parameter REG_PIPELINE_RST = "RST0";
  parameter REG_OUTPUT_CLK = "NONE";
  parameter REG_OUTPUT_CE = "CE0";
  parameter REG_OUTPUT_RST = "RST0";
  parameter CLK0_DIV = "ENABLED";
  parameter CLK1_DIV = "ENABLED";
  parameter CLK2_DIV = "ENABLED";
  parameter CLK3_DIV = "ENABLED";
  parameter HIGHSPEED_CLK = "NONE";
  parameter GSR = "ENABLED";
  parameter CAS_MATCH_REG = "FALSE";
  parameter SOURCEB_MODE = "B_SHIFT";
  parameter MULT_BYPASS = "DISABLED";
  parameter RESETMODE = "SYNC";

  wire [17:0] a_port = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
  wire [17:0] b_port = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
  wire [17:0] c_port = {C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0};
  wire [17:0] a_shifted = {SRIA17, SRIA16, SRIA15, SRIA14, SRIA13, SRIA12, SRIA11, SRIA10, SRIA9,
                           SRIA8, SRIA7, SRIA6, SRIA5, SRIA4, SRIA3, SRIA2, SRIA1, SRIA0};
  wire [17:0] b_shifted = {SRIB17, SRIB16, SRIB15, SRIB14, SRIB13, SRIB12, SRIB11, SRIB10, SRIB9,
                           SRIB8, SRIB7, SRIB6, SRIB5, SRIB4, SRIB3, SRIB2, SRIB1, SRIB0};
  wire [3:0] clk = {CLK3, CLK2, CLK1, CLK0};
  wire [3:0] ce = {CE3, CE2, CE1, CE0};
  wire [3:0] rst = {RST3, RST2, RST1, RST0};

  wire [18:0] a_entry = {SIGNEDA, SOURCEA ? a_shifted : a_port};
  wire [18:0] b_entry = {SIGNEDB, SOURCEB ? b_shifted : b_port};
  wire [18:0] a, b;
  wire [17:0] c;
  ecp5_dsp_register #(.WIDTH(19), .CLK(REG_INPUTA_CLK), .CE(REG_INPUTA_CE), .RST(REG_INPUTA_RST), .MODE(RESETMODE))
    input_a(.clk(clk), .ce(ce), .rst(rst), .d(a_entry), .q(a));
  ecp5_dsp_register #(.WIDTH(19), .CLK(REG_INPUTB_CLK), .CE(REG_INPUTB_CE), .RST(REG_INPUTB_RST), .MODE(RESETMODE))
    input_b(.clk(clk), .ce(ce), .rst(rst), .d(b_entry), .q(b));
  ecp5_dsp_register #(.WIDTH(18), .CLK(REG_INPUTC_CLK), .CE(REG_INPUTC_CE), .RST(REG_INPUTC_RST), .MODE(RESETMODE))
    input_c(.clk(clk), .ce(ce), .rst(rst), .d(c_port), .q(c));

  // Extended by one bit, a signed product serves every mix of signed and unsigned operands.
  wire signed [18:0] a_extended = {a[18] & a[17], a[17:0]};
  wire signed [18:0] b_extended = {b[18] & b[17], b[17:0]};
  wire signed [37:0] product = a_extended * b_extended;
  wire [36:0] exact = {a[18] | b[18], product[35:0]};
  wire [36:0] piped, p;
  ecp5_dsp_register #(.WIDTH(37), .CLK(REG_PIPELINE_CLK), .CE(REG_PIPELINE_CE), .RST(REG_PIPELINE_RST),
                      .MODE(RESETMODE))
    pipeline(.clk(clk), .ce(ce), .rst(rst), .d(exact), .q(piped));
  ecp5_dsp_register #(.WIDTH(37), .CLK(REG_OUTPUT_CLK), .CE(REG_OUTPUT_CE), .RST(REG_OUTPUT_RST), .MODE(RESETMODE))
    result(.clk(clk), .ce(ce), .rst(rst), .d(piped), .q(p));

  assign {SIGNEDP, P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
          P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = p;
  assign {SROA17, SROA16, SROA15, SROA14, SROA13, SROA12, SROA11, SROA10, SROA9,
          SROA8, SROA7, SROA6, SROA5, SROA4, SROA3, SROA2, SROA1, SROA0} = a[17:0];
  assign {SROB17, SROB16, SROB15, SROB14, SROB13, SROB12, SROB11, SROB10, SROB9,
          SROB8, SROB7, SROB6, SROB5, SROB4, SROB3, SROB2, SROB1, SROB0} = b[17:0];
  assign {ROA17, ROA16, ROA15, ROA14, ROA13, ROA12, ROA11, ROA10, ROA9,
          ROA8, ROA7, ROA6, ROA5, ROA4, ROA3, ROA2, ROA1, ROA0} = a[17:0];
  assign {ROB17, ROB16, ROB15, ROB14, ROB13, ROB12, ROB11, ROB10, ROB9,
          ROB8, ROB7, ROB6, ROB5, ROB4, ROB3, ROB2, ROB1, ROB0} = b[17:0];
  assign {ROC17, ROC16, ROC15, ROC14, ROC13, ROC12, ROC11, ROC10, ROC9,
          ROC8, ROC7, ROC6, ROC5, ROC4, ROC3, ROC2, ROC1, ROC0} = c;
endmodule

// One register of a DSP block; CLK "NONE" is a wire.
module ecp5_dsp_register(clk, ce, rst, d, q);
  parameter WIDTH = 18;
  parameter CLK = "NONE";
  parameter CE = "CE0";
  parameter RST = "RST0";
  parameter MODE = "SYNC";
  input [3:0] clk, ce, rst;
  input [WIDTH-1:0] d;
  output [WIDTH-1:0] q;

  localparam CLK_INDEX = CLK == "CLK3" ? 3 : CLK == "CLK2" ? 2 : CLK == "CLK1" ? 1 : 0;
  localparam CE_INDEX = CE == "CE3" ? 3 : CE == "CE2" ? 2 : CE == "CE1" ? 1 : 0;
  localparam RST_INDEX = RST == "RST3" ? 3 : RST == "RST2" ? 2 : RST == "RST1" ? 1 : 0;

  generate
    if (CLK == "NONE") begin : wired
      assign q = d;
    end else if (MODE == "ASYNC") begin : asynchronous
      reg [WIDTH-1:0] state = 0;
      always @(posedge clk[CLK_INDEX] or posedge rst[RST_INDEX])
        if (rst[RST_INDEX]) state <= 0;
        else if (ce[CE_INDEX]) state <= d;
      assign q = state;
    end else begin : synchronous
      reg [WIDTH-1:0] state = 0;
      always @(posedge clk[CLK_INDEX])
        if (rst[RST_INDEX]) state <= 0;
        else if (ce[CE_INDEX]) state <= d;
      assign q = state;
    end
  endgenerate
endmodule

// 18 Kbit block RAM with two ports of 1, 2, 4, 9 or 18 bits each, on one storage of 1024 x 18 bits.
// Address bits above the width select the word; at width 18, ADx0 and ADx1 enable the bytes of a write.
// Output registers (REGMODE OUTREG) load while OCE is high. With CE low a port does nothing.
// WRITEMODE: what a port reads while it writes; NORMAL keeps the last value.
//
// When one port writes a word that the other one reads in the same cycle, the part's answer is not
// defined: the model returns the inverted old bits, so that no design can come to rely on it. Both ports run on one
// clock, and reset is synchronous. Not modelled and refused: 36 bit ports, inverted clocks.
module DP16KD(
  input DIA0, DIA1, DIA2, DIA3, DIA4, DIA5, DIA6, DIA7, DIA8, DIA9, DIA10, DIA11, DIA12, DIA13, DIA14, DIA15, DIA16, DIA17,
  input ADA0, ADA1, ADA2, ADA3, ADA4, ADA5, ADA6, ADA7, ADA8, ADA9, ADA10, ADA11, ADA12, ADA13,
  input CEA, OCEA, CLKA, WEA, RSTA, CSA0, CSA1, CSA2,
  output DOA0, DOA1, DOA2, DOA3, DOA4, DOA5, DOA6, DOA7, DOA8, DOA9, DOA10, DOA11, DOA12, DOA13, DOA14, DOA15, DOA16, DOA17,
  input DIB0, DIB1, DIB2, DIB3, DIB4, DIB5, DIB6, DIB7, DIB8, DIB9, DIB10, DIB11, DIB12, DIB13, DIB14, DIB15, DIB16, DIB17,
  input ADB0, ADB1, ADB2, ADB3, ADB4, ADB5, ADB6, ADB7, ADB8, ADB9, ADB10, ADB11, ADB12, ADB13,
  input CEB, OCEB, CLKB, WEB, RSTB, CSB0, CSB1, CSB2,
  output DOB0, DOB1, DOB2, DOB3, DOB4, DOB5, DOB6, DOB7, DOB8, DOB9, DOB10, DOB11, DOB12, DOB13, DOB14, DOB15, DOB16, DOB17
);
  parameter DATA_WIDTH_A = 18;
  parameter DATA_WIDTH_B = 18;
  parameter REGMODE_A = "NOREG";
  parameter REGMODE_B = "NOREG";
  parameter RESETMODE = "SYNC";
  parameter ASYNC_RESET_RELEASE = "SYNC";
  parameter CSDECODE_A = "0b000";
  parameter CSDECODE_B = "0b000";
  parameter WRITEMODE_A = "NORMAL";
  parameter WRITEMODE_B = "NORMAL";
  parameter CLKAMUX = "CLKA";
  parameter CLKBMUX = "CLKB";
  parameter GSR = "ENABLED";
  parameter INIT_DATA = "STATIC";
  parameter [319:0] INITVAL_00 = 320'h0;
  parameter [319:0] INITVAL_01 = 320'h0;
  parameter [319:0] INITVAL_02 = 320'h0;
  parameter [319:0] INITVAL_03 = 320'h0;
  parameter [319:0] INITVAL_04 = 320'h0;
  parameter [319:0] INITVAL_05 = 320'h0;
  parameter [319:0] INITVAL_06 = 320'h0;
  parameter [319:0] INITVAL_07 = 320'h0;
  parameter [319:0] INITVAL_08 = 320'h0;
  parameter [319:0] INITVAL_09 = 320'h0;
  parameter [319:0] INITVAL_0A = 320'h0;
  parameter [319:0] INITVAL_0B = 320'h0;
  parameter [319:0] INITVAL_0C = 320'h0;
  parameter [319:0] INITVAL_0D = 320'h0;
  parameter [319:0] INITVAL_0E = 320'h0;
  parameter [319:0] INITVAL_0F = 320'h0;
  parameter [319:0] INITVAL_10 = 320'h0;
  parameter [319:0] INITVAL_11 = 320'h0;
  parameter [319:0] INITVAL_12 = 320'h0;
  parameter [319:0] INITVAL_13 = 320'h0;
  parameter [319:0] INITVAL_14 = 320'h0;
  parameter [319:0] INITVAL_15 = 320'h0;
  parameter [319:0] INITVAL_16 = 320'h0;
  parameter [319:0] INITVAL_17 = 320'h0;
  parameter [319:0] INITVAL_18 = 320'h0;
  parameter [319:0] INITVAL_19 = 320'h0;
  parameter [319:0] INITVAL_1A = 320'h0;
  parameter [319:0] INITVAL_1B = 320'h0;
  parameter [319:0] INITVAL_1C = 320'h0;
  parameter [319:0] INITVAL_1D = 320'h0;
  parameter [319:0] INITVAL_1E = 320'h0;
  parameter [319:0] INITVAL_1F = 320'h0;
  parameter [319:0] INITVAL_20 = 320'h0;
  parameter [319:0] INITVAL_21 = 320'h0;
  parameter [319:0] INITVAL_22 = 320'h0;
  parameter [319:0] INITVAL_23 = 320'h0;
  parameter [319:0] INITVAL_24 = 320'h0;
  parameter [319:0] INITVAL_25 = 320'h0;
  parameter [319:0] INITVAL_26 = 320'h0;
  parameter [319:0] INITVAL_27 = 320'h0;
  parameter [319:0] INITVAL_28 = 320'h0;
  parameter [319:0] INITVAL_29 = 320'h0;
  parameter [319:0] INITVAL_2A = 320'h0;
  parameter [319:0] INITVAL_2B = 320'h0;
  parameter [319:0] INITVAL_2C = 320'h0;
  parameter [319:0] INITVAL_2D = 320'h0;
  parameter [319:0] INITVAL_2E = 320'h0;
  parameter [319:0] INITVAL_2F = 320'h0;
  parameter [319:0] INITVAL_30 = 320'h0;
  parameter [319:0] INITVAL_31 = 320'h0;
  parameter [319:0] INITVAL_32 = 320'h0;
  parameter [319:0] INITVAL_33 = 320'h0;
  parameter [319:0] INITVAL_34 = 320'h0;
  parameter [319:0] INITVAL_35 = 320'h0;
  parameter [319:0] INITVAL_36 = 320'h0;
  parameter [319:0] INITVAL_37 = 320'h0;
  parameter [319:0] INITVAL_38 = 320'h0;
  parameter [319:0] INITVAL_39 = 320'h0;
  parameter [319:0] INITVAL_3A = 320'h0;
  parameter [319:0] INITVAL_3B = 320'h0;
  parameter [319:0] INITVAL_3C = 320'h0;
  parameter [319:0] INITVAL_3D = 320'h0;
  parameter [319:0] INITVAL_3E = 320'h0;
  parameter [319:0] INITVAL_3F = 320'h0;

  wire [13:0] address_a = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
  wire [13:0] address_b = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
  wire [17:0] data_a = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9,
                        DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
  wire [17:0] data_b = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9,
                        DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
  wire selected_a = CEA & ~CSA0 & ~CSA1 & ~CSA2;
  wire selected_b = CEB & ~CSB0 & ~CSB1 & ~CSB2;

  reg [17:0] storage [0:1023];
  reg [17:0] latch_a = 0, latch_b = 0, register_a = 0, register_b = 0;

  // Lowest bit of the addressed part of a word, and the bits of a word that a write changes.
  function [4:0] offset;
    input integer width;
    input [13:0] address;
    case (width)
      1: offset = {2'b0, address[2:0]} + (address[3] ? 5'd9 : 5'd0);
      2: offset = {2'b0, address[2:1], 1'b0} + (address[3] ? 5'd9 : 5'd0);
      4: offset = {2'b0, address[2], 2'b0} + (address[3] ? 5'd9 : 5'd0);
      9: offset = address[3] ? 5'd9 : 5'd0;
      default: offset = 5'd0;
    endcase
  endfunction

  function [17:0] mask;
    input integer width;
    input [13:0] address;
    case (width)
      1: mask = 18'h1 << offset(width, address);
      2: mask = 18'h3 << offset(width, address);
      4: mask = 18'hf << offset(width, address);
      9: mask = 18'h1ff << offset(width, address);
      default: mask = {{9{address[1]}}, {9{address[0]}}};
    endcase
  endfunction

  // Where a port looks: all bits of the word for 18, however a write's bytes are enabled.
  function [17:0] view;
    input integer width;
    input [13:0] address;
    view = width == 18 ? 18'h3ffff : mask(width, address);
  endfunction

  wire [17:0] write_mask_a = selected_a && WEA ? mask(DATA_WIDTH_A, address_a) : 18'h0;
  wire [17:0] write_mask_b = selected_b && WEB ? mask(DATA_WIDTH_B, address_b) : 18'h0;
  wire [17:0] written_a = data_a << offset(DATA_WIDTH_A, address_a);
  wire [17:0] written_b = data_b << offset(DATA_WIDTH_B, address_b);
  wire same_word = address_a[13:4] == address_b[13:4];
  wire [17:0] old_a = storage[address_a[13:4]] ^ (same_word ? write_mask_b : 18'h0);
  wire [17:0] old_b = storage[address_b[13:4]] ^ (same_word ? write_mask_a : 18'h0);
  wire [17:0] new_a = (old_a & ~write_mask_a) | (written_a & write_mask_a);
  wire [17:0] new_b = (old_b & ~write_mask_b) | (written_b & write_mask_b);
  wire [17:0] seen_a = (WRITEMODE_A == "WRITETHROUGH" ? new_a : old_a) & view(DATA_WIDTH_A, address_a);
  wire [17:0] seen_b = (WRITEMODE_B == "WRITETHROUGH" ? new_b : old_b) & view(DATA_WIDTH_B, address_b);
  // Both ports writing one word: each keeps the bits of the other.
  wire [17:0] others_a = same_word ? write_mask_b : 18'h0;
  wire [17:0] others_b = same_word ? write_mask_a : 18'h0;
  wire [17:0] word_a = (storage[address_a[13:4]] & ~(write_mask_a | others_a)) | (written_a & write_mask_a)
                       | (written_b & others_a & ~write_mask_a);
  wire [17:0] word_b = (storage[address_b[13:4]] & ~(write_mask_b | others_b)) | (written_b & write_mask_b)
                       | (written_a & others_b & ~write_mask_b);

  generate
    if (DATA_WIDTH_A > 18 || DATA_WIDTH_B > 18) begin : refused_width
      initial begin $display("DP16KD: 36 bit ports are not modelled"); $finish; end
    end
    if (CLKAMUX == "INV" || CLKBMUX == "INV") begin : refused_clock
      initial begin $display("DP16KD: inverted clocks are not modelled"); $finish; end
    end
  endgenerate

  always @(posedge CLKA) begin
    if (write_mask_a != 0) storage[address_a[13:4]] <= word_a;
    if (RSTA) begin
      latch_a <= 0;
      register_a <= 0;
    end else begin
      if (selected_a && !(WEA && WRITEMODE_A == "NORMAL")) latch_a <= seen_a >> offset(DATA_WIDTH_A, address_a);
      if (OCEA) register_a <= latch_a;
    end
  end

  always @(posedge CLKB) begin
    if (write_mask_b != 0) storage[address_b[13:4]] <= word_b;
    if (RSTB) begin
      latch_b <= 0;
      register_b <= 0;
    end else begin
      if (selected_b && !(WEB && WRITEMODE_B == "NORMAL")) latch_b <= seen_b >> offset(DATA_WIDTH_B, address_b);
      if (OCEB) register_b <= latch_b;
    end
  end

  assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9,
          DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0} = REGMODE_A == "OUTREG" ? register_a : latch_a;
  assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9,
          DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0} = REGMODE_B == "OUTREG" ? register_b : latch_b;

  // A word is 18 bits in a slot of 20; sixteen words to an INITVAL.
  integer w;
  initial
    for (w = 0; w < 16; w = w + 1) begin
      storage[0 + w] = INITVAL_00[20*w +: 18];
      storage[16 + w] = INITVAL_01[20*w +: 18];
      storage[32 + w] = INITVAL_02[20*w +: 18];
      storage[48 + w] = INITVAL_03[20*w +: 18];
      storage[64 + w] = INITVAL_04[20*w +: 18];
      storage[80 + w] = INITVAL_05[20*w +: 18];
      storage[96 + w] = INITVAL_06[20*w +: 18];
      storage[112 + w] = INITVAL_07[20*w +: 18];
      storage[128 + w] = INITVAL_08[20*w +: 18];
      storage[144 + w] = INITVAL_09[20*w +: 18];
      storage[160 + w] = INITVAL_0A[20*w +: 18];
      storage[176 + w] = INITVAL_0B[20*w +: 18];
      storage[192 + w] = INITVAL_0C[20*w +: 18];
      storage[208 + w] = INITVAL_0D[20*w +: 18];
      storage[224 + w] = INITVAL_0E[20*w +: 18];
      storage[240 + w] = INITVAL_0F[20*w +: 18];
      storage[256 + w] = INITVAL_10[20*w +: 18];
      storage[272 + w] = INITVAL_11[20*w +: 18];
      storage[288 + w] = INITVAL_12[20*w +: 18];
      storage[304 + w] = INITVAL_13[20*w +: 18];
      storage[320 + w] = INITVAL_14[20*w +: 18];
      storage[336 + w] = INITVAL_15[20*w +: 18];
      storage[352 + w] = INITVAL_16[20*w +: 18];
      storage[368 + w] = INITVAL_17[20*w +: 18];
      storage[384 + w] = INITVAL_18[20*w +: 18];
      storage[400 + w] = INITVAL_19[20*w +: 18];
      storage[416 + w] = INITVAL_1A[20*w +: 18];
      storage[432 + w] = INITVAL_1B[20*w +: 18];
      storage[448 + w] = INITVAL_1C[20*w +: 18];
      storage[464 + w] = INITVAL_1D[20*w +: 18];
      storage[480 + w] = INITVAL_1E[20*w +: 18];
      storage[496 + w] = INITVAL_1F[20*w +: 18];
      storage[512 + w] = INITVAL_20[20*w +: 18];
      storage[528 + w] = INITVAL_21[20*w +: 18];
      storage[544 + w] = INITVAL_22[20*w +: 18];
      storage[560 + w] = INITVAL_23[20*w +: 18];
      storage[576 + w] = INITVAL_24[20*w +: 18];
      storage[592 + w] = INITVAL_25[20*w +: 18];
      storage[608 + w] = INITVAL_26[20*w +: 18];
      storage[624 + w] = INITVAL_27[20*w +: 18];
      storage[640 + w] = INITVAL_28[20*w +: 18];
      storage[656 + w] = INITVAL_29[20*w +: 18];
      storage[672 + w] = INITVAL_2A[20*w +: 18];
      storage[688 + w] = INITVAL_2B[20*w +: 18];
      storage[704 + w] = INITVAL_2C[20*w +: 18];
      storage[720 + w] = INITVAL_2D[20*w +: 18];
      storage[736 + w] = INITVAL_2E[20*w +: 18];
      storage[752 + w] = INITVAL_2F[20*w +: 18];
      storage[768 + w] = INITVAL_30[20*w +: 18];
      storage[784 + w] = INITVAL_31[20*w +: 18];
      storage[800 + w] = INITVAL_32[20*w +: 18];
      storage[816 + w] = INITVAL_33[20*w +: 18];
      storage[832 + w] = INITVAL_34[20*w +: 18];
      storage[848 + w] = INITVAL_35[20*w +: 18];
      storage[864 + w] = INITVAL_36[20*w +: 18];
      storage[880 + w] = INITVAL_37[20*w +: 18];
      storage[896 + w] = INITVAL_38[20*w +: 18];
      storage[912 + w] = INITVAL_39[20*w +: 18];
      storage[928 + w] = INITVAL_3A[20*w +: 18];
      storage[944 + w] = INITVAL_3B[20*w +: 18];
      storage[960 + w] = INITVAL_3C[20*w +: 18];
      storage[976 + w] = INITVAL_3D[20*w +: 18];
      storage[992 + w] = INITVAL_3E[20*w +: 18];
      storage[1008 + w] = INITVAL_3F[20*w +: 18];
    end
endmodule
