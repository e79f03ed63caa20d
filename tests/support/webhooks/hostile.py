"""Addresses that look like those of Amazon's certificates, and are others."""

from __future__ import annotations

HOSTILE = [
    "http://sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb.pem",
    "https://sns.s3-us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb.pem",  # a bucket that is called `sns`
    "https://sns.s3.amazonaws.com/SimpleNotificationService-f3ecfb.pem",
    "https://s3.amazonaws.com/SimpleNotificationService-f3ecfb.pem",
    "https://sns.us-west-2.amazonaws.com.example.com/SimpleNotificationService-f3ecfb.pem",
    "https://sns.us-west-2.amazonaws.com@example.com/SimpleNotificationService-f3ecfb.pem",
    "https://example.com@sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb.pem",
    "https://example.com#@sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb.pem",
    "https://example.com\\@sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb.pem",
    "https://sns.us-west-2.amazonaws.com:8443/SimpleNotificationService-f3ecfb.pem",
    "https://sns.us-west-2.amazonaws.com:/SimpleNotificationService-f3ecfb.pem",
    "https://sns.us-west-2.amazonaws.com./SimpleNotificationService-f3ecfb.pem",
    "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb.pem?x=1",
    "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb.pem?",
    "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb.pem#x",
    "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb.pem#",
    "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb.pem\n",
    "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ec\tfb.pem",
    " https://sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb.pem",
    "https://sns.us-west-2.amazonaws.com/../SimpleNotificationService-f3ecfb.pem",
    "https://sns.us-west-2.amazonaws.com/x/SimpleNotificationService-f3ecfb.pem",
    "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-..%2f.pem",
    "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb.pem/x",
    "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-F3ECFB.pem",
    "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-.pem",
    "https://sns.us-west-2.amazonaws.com/?Action=Publish",
    "https://sns.us-west-2.amazonaws.com",
    "https://sns..us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb.pem",
    "https://snsxus-west-2.amazonaws.com/SimpleNotificationService-f3ecfb.pem",
    "https://sns.us-west-2-amazonaws.com/SimpleNotificationService-f3ecfb.pem",
    "https://sns.us-west-2.amazonaws.com.cn.example.com/SimpleNotificationService-f3ecfb.pem",
    "https://sns.us-west-٢.amazonaws.com/SimpleNotificationService-f3ecfb.pem",  # a digit of another script
    "https://ѕns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb.pem",  # a letter of another script
    "https://169.254.169.254/latest/meta-data",
    "https://[::1]/SimpleNotificationService-f3ecfb.pem",
    "https://[sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb.pem",
    "file:///etc/passwd",
    "//sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb.pem",
    "https:/sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb.pem",
    "",
    "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-" + "a" * 400 + ".pem",
]
