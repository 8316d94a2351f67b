"""SOAP as a real client (zeep) speaks it, 1.1 and 1.2, against a server that knows nothing of Eastwall."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pytest
from tests.unit.protocols.recorded_traffic import Recorder, served

zeep = pytest.importorskip("zeep", reason="the client of these tests is zeep")

SPACE = "http://example.org/stock"
WSDL = f"""<?xml version="1.0"?>
<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:tns="{SPACE}" xmlns:xs="http://www.w3.org/2001/XMLSchema"
    xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:soap12="http://schemas.xmlsoap.org/wsdl/soap12/" targetNamespace="{SPACE}">
  <types><xs:schema targetNamespace="{SPACE}" elementFormDefault="qualified">
    <xs:element name="GetLastTradePrice"><xs:complexType><xs:sequence>
      <xs:element name="tickerSymbol" type="xs:string"/><xs:element name="note" type="xs:string" minOccurs="0" maxOccurs="unbounded"/>
    </xs:sequence></xs:complexType></xs:element>
    <xs:element name="TradePrice"><xs:complexType><xs:sequence>
      <xs:element name="price" type="xs:float"/></xs:sequence></xs:complexType></xs:element>
  </xs:schema></types>
  <message name="In"><part name="body" element="tns:GetLastTradePrice"/></message>
  <message name="Out"><part name="body" element="tns:TradePrice"/></message>
  <portType name="StockPort"><operation name="GetLastTradePrice"><input message="tns:In"/><output message="tns:Out"/></operation></portType>
  <binding name="B11" type="tns:StockPort"><soap:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>
    <operation name="GetLastTradePrice"><soap:operation soapAction="{SPACE}/GetLastTradePrice"/>
      <input><soap:body use="literal"/></input><output><soap:body use="literal"/></output></operation></binding>
  <binding name="B12" type="tns:StockPort"><soap12:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>
    <operation name="GetLastTradePrice"><soap12:operation soapAction="{SPACE}/GetLastTradePrice"/>
      <input><soap12:body use="literal"/></input><output><soap12:body use="literal"/></output></operation></binding>
  <service name="Stock">
    <port name="P11" binding="tns:B11"><soap:address location="http://ADDRESS/stock"/></port>
    <port name="P12" binding="tns:B12"><soap12:address location="http://ADDRESS/stock"/></port>
  </service>
</definitions>"""
ANSWER = '<e:Envelope xmlns:e="{0}"><e:Body>{1}</e:Body></e:Envelope>'
FAULT = "<e:Fault><faultcode>e:Server</faultcode><faultstring>no such symbol</faultstring></e:Fault>"


async def stock(scope: Any, receive: Any, send: Any) -> None:
    """A stock quote service, as in the W3C's WSDL 1.1 note. Says that a symbol is not known with a fault in an answer of 200."""
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    if scope["method"] == "GET":
        host = dict(scope["headers"])[b"host"].decode()
        answer = WSDL.replace("ADDRESS", host)
    else:
        root = ElementTree.fromstring(body)
        symbol = root.findtext(f".//{{{SPACE}}}tickerSymbol")
        found = FAULT if symbol == "NONE" else f'<m:TradePrice xmlns:m="{SPACE}"><m:price>34.5</m:price></m:TradePrice>'
        answer = ANSWER.format(root.tag[1:].partition("}")[0], found)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/xml; charset=utf-8")]})
    await send({"type": "http.response.body", "body": answer.encode()})


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Recorder]]:
    with served(stock) as found:
        yield found


@pytest.mark.parametrize("port", ["P11", "P12"])
def test_a_call_and_its_answer(server: tuple[str, Recorder], port: str) -> None:
    address, recorder = server
    client = zeep.Client(f"http://{address}/stock?wsdl", port_name=port)
    recorder.operations(1)
    recorder.exchanges.clear()
    assert client.service.GetLastTradePrice(tickerSymbol="DIS & co", note=["a", "b"]) == 34.5
    ((request, response),) = recorder.operations()
    assert recorder.exchanges[0][0].headers["content-type"].startswith("application/soap+xml") == (port == "P12")
    assert (request.protocol, request.name, request.faults) == ("soap", f"{SPACE}/GetLastTradePrice", ())
    assert request.body_kind == "xml"
    assert request.body["Body"]["GetLastTradePrice"] == {"tickerSymbol": "DIS & co", "note": ["a", "b"]}
    assert (response.protocol, response.name, response.traits) == ("soap", request.name, ())
    assert response.body == {"Body": {"TradePrice": {"price": "34.5"}}}


def test_a_fault_in_an_answer_of_200(server: tuple[str, Recorder]) -> None:
    address, recorder = server
    client = zeep.Client(f"http://{address}/stock?wsdl", port_name="P11")
    recorder.operations(1)
    recorder.exchanges.clear()
    with pytest.raises(zeep.exceptions.Fault):
        client.service.GetLastTradePrice(tickerSymbol="NONE")
    ((_, response),) = recorder.operations()
    assert response.traits == ("fault",)


def test_a_description_is_no_call(server: tuple[str, Recorder]) -> None:
    address, recorder = server
    recorder.exchanges.clear()
    zeep.Client(f"http://{address}/stock?wsdl")
    request, response = recorder.operations()[0]
    assert (request.protocol, request.name) == ("rest", "")
    assert response.body_kind == "xml"
    assert response.body["message"][0]["@name"] == "In"
